#!/usr/bin/perl

# Reloads under load: every request is answered, none by a 5xx, no connection is refused, nothing is
# lost, and the old processes end.
#
#     NUCLEUS_TORTURE=full    a reload each second for a minute (else for 4 seconds)

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep);

use Nucleus::Ledger;
use Nucleus::Test;

my $seconds = ($ENV{NUCLEUS_TORTURE} // '') eq 'full' ? 60 : 4;

my $t = Nucleus::Test->new(
    workers       => 2,
    queue_options => 'min_free=0 segment=1m',
    main          => 'worker_shutdown_timeout 10s;',
);

$t->start;

# ---- connections of one request each: all must be answered 202
#      and kept ones: a request may meet a connection that the old process is just closing

my $ledger = Nucleus::Ledger->new($t, seed => 7, senders => 4, bad => 0);

$ledger->start;
$ledger->wait_answers(200);

for (1 .. 4) {
    my $seen = $ledger->answers;

    $t->reload or last;
    $ledger->wait_answers($seen + 50);
}

# by the clock, whether the processes before have ended or not
for (1 .. $seconds) {
    my $seen = $ledger->answers;

    $t->signal('HUP', 'nginx');
    sleep 1;
    $ledger->wait_answers($seen + 20);
}

# the last generation alone is left, and nothing of those before it
$t->reload;
$t->wait_for('the processes of all the others have ended', 30, sub { $t->children('nginx') == 2 });

# two at once: the second comes while the first is still going on
for (1 .. 3) {
    my $seen = $ledger->answers;

    $t->signal('HUP', 'nginx');
    $t->reload or last;
    $ledger->wait_answers($seen + 50);
}

$ledger->stop;

my $count = $ledger->count;
note(Nucleus::Ledger::numbers($count));

cmp_ok($count->{202} // 0, '>=', 500, 'many requests were answered 202');
is($count->{refused} // 0, 0, 'no connection was refused');
is(scalar(grep { /^5/ } keys %$count), 0, 'no 5xx');
is(scalar(grep { /^4/ } keys %$count), 0, 'no 4xx');
is(join("\n", $ledger->unanswered), '', 'every request was answered, but for those that an idle connection\'s end met');

$ledger->check('reloads');

# ---- a request that began before the reload is finished by the old process

{
    my ($old) = $t->nginx_workers;
    my $c = $t->client;
    my $body = '{"id":"old-1","x":"' . 'x' x 1000 . '"}';
    my $text = Nucleus::Client::text('POST', '/events', [ 'Content-Type' => 'application/json' ], $body);

    $c->send(substr($text, 0, 200));
    $t->wait_for('it has the connection', 10, sub { $t->get('/live')->status == 200 });
    $t->reload(wait => 0);
    $c->send(substr($text, 200));
    $t->is_receipt($c->response, 1, 'a body that straddles a reload');
    ok($c->closed(20), 'then its connection ends');
    $c->close;
    $t->wait_old;
}

# ---- a configuration that is wrong changes nothing

{
    my @before = $t->nginx_workers;

    $t->expect_log(qr/\[emerg\].*"nucleus_stream"/);
    $t->write_confs(locations => 'location /bad { nucleus auto; nucleus_stream A; }');
    $t->signal('HUP', 'nginx');
    $t->wait_for('nginx says what is wrong', 10,
        sub { $t->read_file('error.log') =~ /\[emerg\].*"nucleus_stream"/ });
    is(join(' ', $t->nginx_workers), "@before", 'the old processes go on');
    $t->is_receipt($t->post('/events', '{"id":"old-2"}'), 1, 'and take events');
    $t->write_confs(locations => '');
}

# ---- other options of the queue

{
    $t->write_confs(queue_options => 'min_free=0 segment=1m max_size=1g timeout=3s');
    $t->reload;
    $t->is_receipt($t->post('/events', '{"id":"old-3"}'), 1, 'with other options');
}

$t->wait_events(sub { (grep { $_->{id} =~ /^old-/ } @_) == 3 });

# ---- the directories of the dead go when all was read

$t->wait_for('the directories of dead writers are removed', 30, sub {
    my @writers = glob $t->queue . '/*-*-*-*-*';
    return @writers <= 4;
});

is($t->stop('nginx', 'TERM'), 0, 'nginx ends on SIGTERM');
$t->start_nginx or die "nginx does not start again\n";
is($t->stop('nginx', 'QUIT'), 0, 'nginx ends on SIGQUIT');

$t->finish;
done_testing;
