#!/usr/bin/perl

# A host is dead, and its queue directory is brought to another one, whose worker runs: what it had not
# delivered is delivered there, once.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP ();
use Test::More;

use Nucleus::Test;

my $options = 'min_free=0 segment=64k';
my $dead = Nucleus::Test->new(queue_options => $options);
my $t = Nucleus::Test->new(queue_options => $options);
my $number = 0;

sub send_some {
    my ($host, $count) = @_;

    my @ids;

    for (1 .. $count) {
        my $id = 'a-' . ++$number;
        my $r = $host->post('/events', qq({"id":"$id","x":") . 'x' x 1000 . '"}');
        $r->status == 202 or fail("$id is taken");
        push @ids, $id;
    }

    return @ids;
}

sub ids { return join ' ', sort map { $_->{id} } @_ }

# ---- two hosts, of which one dies with records that it has not delivered

$dead->start_nginx or die "nginx does not start\n";
my @lost = send_some($dead, 100);
my @stored = @lost;
$t->start;
my @mine = send_some($t, 10);

my ($code, $out) = $t->worker('--adopt', $dead->queue);
ok($code == 1 && $out =~ /somebody holds "\Q@{[ $dead->queue ]}\E.*hint: stop the nginx/s, 'nginx runs on it: refused') or diag($out);
$dead->kill_all('nginx');

for my $case ([ $t->queue, qr/is the queue itself/ ], [ $t->dir . '/none', qr/No such file/ ], [ $t->state, qr/no directory of a writer/ ]) {
    ($code, $out) = $t->worker('--adopt', $case->[0]);
    ok($code == 1 && $out =~ $case->[1], "--adopt $case->[0]: refused") or diag($out);
}

# ---- beside a running worker

my @pids = $t->children('worker');
($code, $out) = $t->worker('--adopt', $dead->queue);
is($code, 0, '--adopt') or diag($out);
my @moved = $out =~ /^writer [0-9a-f-]{36}: (\d+) segments, \d+ bytes moved$/mg;
cmp_ok($moved[0] // 0, '>=', 2, 'it says what it did') or diag($out);
like($out, qr/is adopted: all that it held will be delivered/, 'and what that means');
ok(!-e $dead->queue, 'the directory is gone');

push @mine, send_some($t, 10);
is(ids($t->wait_events(@lost + @mine)), join(' ', sort @lost, @mine), 'all of both is stored, once');
is(join(' ', $t->children('worker')), "@pids", 'the worker has not stopped for it');
$t->wait_for('its writers go when they have been read', 30, sub {
    my @writers = grep { m{/[0-9a-f-]{36}$} } glob $t->queue . '/*';
    return @writers <= 2;
});

# ---- with the dead worker's state: what it had delivered is not delivered again

my $other = Nucleus::Test->new(queue_options => $options, more => 'pipeline also { sink file { path %%DIR%%/also; } }');
$other->start;
my @delivered = send_some($other, 30);
$other->wait_events(30);
$other->wait_events(30, $other->dir . '/also');
$other->wait_for('it is committed', 20, sub { $other->status->{delivered} == 30 });
is($other->stop('worker'), 0, 'its worker ends');
@lost = send_some($other, 20);
is($other->stop('nginx'), 0, 'its nginx too');

my @with = ('--adopt', $other->queue, '--with-state', $other->state);
($code, $out) = $t->worker(@with);
ok($code == 1 && $out =~ /a worker, process \d+, runs on the state.*hint: stop it first/s, '--with-state while the worker runs: refused')
    or diag($out);
is($t->stop('worker'), 0, 'so it stops');
($code, $out) = $t->worker(@with, '--json');
is($code, 0, '--adopt --with-state --json') or diag($out);
my @events = map { JSON::PP->new->utf8->decode($_) } split /\n/, $out;
my %seen = map { ("$_->{event} $_->{name}" => $_) } @events;
cmp_ok($seen{'positions store'}{count} // 0, '>=', 1, 'positions of the pipeline of the same name');
ok($seen{'unknown-pipeline also'}, 'one that is not here is told');
is(scalar(grep { $_->{event} eq 'moved' } @events), 1, 'a writer is moved');

$t->start_worker or die "nucleus-worker does not start\n";
push @stored, @mine, @lost;
is(ids($t->wait_events(scalar @stored)), join(' ', sort @stored), 'what it had not delivered is, and nothing else');
$t->wait_for('no lag', 20, sub { $t->status->{lag}{records} == 0 });
is(scalar(my @now = $t->events), scalar @stored, 'and stays so');

is(($t->worker('--with-state', 'x'))[0], 2, '--with-state alone');

$_->finish for $dead, $other, $t;
done_testing;
