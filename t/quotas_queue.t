#!/usr/bin/perl

# The bytes that a tenant may have in the queue: counted by the worker, and by nginx since; at the quota it is 503, for that
# tenant alone, until they have left.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Nucleus::Client;
use Nucleus::Test;

use constant {
    QUOTA => 400_000,
    EVENT => 2000,
};

my $t = Nucleus::Test->new(
    keys      => 1,
    workers   => 2,
    locations => 'location = /off { nucleus auto; nucleus_limit off; nucleus_max_events 100000; }',
);

$t->start;

my $registry = $t->registry;
my $key = $registry->key(tenant => 'north');
my $other = $registry->key(tenant => 'south');
my $file = $t->queue . '/tenant-bytes';
my $sent = 0;

sub quota {
    $registry->must(qw(tenant limits north --queue-bytes), $_[0]);
    return $t->wait_for("all processes know of $_[0]", 10, sub { !@{ $registry->json('snapshot')->{behind} } });
}

sub send_bytes {
    my ($bytes, $with) = @_;

    return $t->post('/off', '{"pad":"' . 'x' x $bytes . '"}', headers => ($with // $key)->{bearer});
}

# Until it is refused.  What is taken between the worker's look and nginx's, some tenths of a second, is counted late.
sub fill {
    my ($quota) = @_;

    for (1 .. 2 * $quota / EVENT) {
        my $r = send_bytes(EVENT);

        return $r if $r->status != 202;
        $sent++;
    }

    return;
}

# in the queue, as nginx knows
sub there {
    my $r = send_bytes(2.2 * QUOTA);

    return $r->status == 413 && $r->json->{detail} =~ /: (\d+) are there, \d+ never fit, / ? $1 : undef;
}

# tenant => bytes, as the worker says
sub counted {
    my ($number, @lines) = split /\n/, $t->read_file($file);

    return ($number, { map { /^(\S+) (\d+) \d+$/ ? ($1 => $2) : () } @lines });
}

$t->wait_for('all processes know the keys', 10, sub { !@{ $registry->json('snapshot')->{behind} } });
is(send_bytes(1)->status, 202, 'an event');
$sent++;
$t->wait_for('it is stored', 20, sub { $t->events == 1 });
ok(!-e $file, 'without a quota nobody counts');

quota(QUOTA);
is(send_bytes(1)->status, 202, 'one more');
$sent++;
$t->wait_for('the worker counts', 20, sub { -e $file && (counted())[0] });

$t->is_problem(send_bytes(QUOTA), 413, 'batch-too-large',
    { detail => qr/^over the quota of bytes in the queue of this tenant, 400000: \d+ are there, 400\d{3} never fit, \d+ would fit now$/ },
    'what never fits');

# ---- a worker that keeps up

for (1 .. 3) {
    my $count = int(0.6 * QUOTA / EVENT);
    my @refused = grep { $_ != 202 } map { send_bytes(EVENT)->status } 1 .. $count;

    is("@refused", '', 'more than half of it at once');
    $sent += $count - @refused;
    $t->wait_for('all has left', 20, sub { !%{ (counted())[1] } && $t->events == $sent && there() == 0 });
}

# ---- a pipeline that stands still, beside a keeper that counts

my ($pipeline) = $t->children('worker', qr/store/);
ok($pipeline, 'the process of the pipeline') or BAIL_OUT('no pipeline');
kill STOP => $pipeline;

my $r = fill(QUOTA);
$t->is_problem($r, 503, 'tenant-queue-full',
    { detail => qr/^over the quota of bytes in the queue of this tenant, 400000: \d+ are there, of \d+, \d+ would fit now$/ }, 'refused');
ok(($r->header('Retry-After') // 0) >= 1 && $r->header('Retry-After') <= 60, 'with a time');

is(send_bytes(EVENT, $other)->status, 202, 'another tenant has nothing to do with it');
$sent++;

$t->wait_for('the worker has counted them', 20, sub {
    my $bytes = (counted())[1]{north} // 0;
    return $bytes > QUOTA - 2 * EVENT && $bytes == there();
}) or diag(sprintf '%s, nginx says %s', $t->read_file($file), there() // '?');
like($t->read_file($file), qr/^south \d+ 0$/m, 'and those of the other');
is(send_bytes(EVENT)->status, 503, 'it is still over');
is($registry->json(qw(tenant show north --queue), $t->queue)->{bytes_queued}, (counted())[1]{north}, 'nucleusctl tells');
like($registry->must(qw(tenant show south --queue), $t->queue), qr/^bytes queued: +\d{4}$/m, 'of the other, too');

# to the brim, where even the head of a request is enough
$registry->must(qw(tenant limits north --queue-bytes), (counted())[1]{north});
$t->wait_for('processes know', 10, sub { !@{ $registry->json('snapshot')->{behind} } });

my $client = $t->client;
$client->send("POST /off HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2000\r\n"
    . "$key->{bearer}[0]: $key->{bearer}[1]\r\n\r\n");
$t->is_problem($client->response, 503, 'tenant-queue-full', { detail => qr/\d are there, 0 would fit now$/ }, 'before the body');
$client->close;
quota(QUOTA);

$t->reload;
$t->wait_old;
$t->wait_for('new processes know what is there', 10, sub { send_bytes(EVENT)->status == 503 });

$t->stop('nginx');
$t->start_nginx;
$t->wait_ready;
$t->wait_for('after a restart, too', 10, sub { send_bytes(EVENT)->status == 503 });

# ---- a larger quota, without anybody who counts

$t->kill_all('worker');
quota(2 * QUOTA);
my $before = there();
$r = fill(2 * QUOTA);
$t->is_problem($r, 503, 'tenant-queue-full', undef, 'nginx itself counts what it takes');
cmp_ok(there(), '>', 2 * QUOTA - 2 * EVENT, 'up to the quota') or diag("$before were there before");
cmp_ok(there(), '<=', 2 * QUOTA, 'exactly, when no edition comes between');

# ---- it drains

$t->start_worker;
$t->wait_for('the worker begins anew, and all leaves', 30, sub { !%{ (counted())[1] } && $t->events >= $sent });
$t->wait_for('so that it is taken again', 10, sub { send_bytes(EVENT)->status == 202 });

quota('none');
unlink $file;
is(send_bytes(2 * QUOTA)->status, 202, 'no quota');
ok(!-e $file, 'nobody asks for the file');

$t->expect_log(qr/"level":"(?:alert|error)".*(?:killed|ended|signal)/);
$t->finish;

done_testing;
