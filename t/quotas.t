#!/usr/bin/perl

# The events that a tenant may send on a day: exact among processes, whole batches, kept through reloads and restarts.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use POSIX ();
use Test::More;

use Nucleus::Test;

my $t = Nucleus::Test->new(
    keys      => 1,
    workers   => 2,
    locations => <<'END_CONF',
        location = /off  { nucleus auto; nucleus_limit off; nucleus_max_events 100000; }
        location = /both { nucleus auto; nucleus_limit tenant rate=1e/s burst=1000; }
END_CONF
);

sub today { return int(time / 86400) }

sub until_midnight { return 86400 - time % 86400 }

# what is counted is of one day
if (until_midnight() < 300) {
    my $day = today();
    $t->wait_for('a new day', 310, sub { today() > $day });
}

$t->start;

my $registry = $t->registry;
my $key = $registry->key(tenant => 'north');
my $second = $registry->key(tenant => 'north');
my $other = $registry->key(tenant => 'south');

sub send_events {
    my ($uri, $count, $with) = @_;

    return $t->post($uri, '[' . join(',', ('{}') x $count) . ']', headers => ($with // $key)->{bearer});
}

sub counted {
    my ($tenant) = @_;

    return $registry->json(qw(tenant show), $tenant // 'north', '--queue', $t->queue)->{events_today};
}

sub set {
    my (@limit) = @_;

    $registry->must(qw(tenant limits north), @limit);
    return $t->wait_for("all processes know of @limit", 10, sub { !@{ $registry->json('snapshot')->{behind} } });
}

sub quota { return set('--events-a-day', $_[0]) }

$t->wait_for('all processes know the keys', 10, sub { !@{ $registry->json('snapshot')->{behind} } });
is(send_events('/off', 1, $other)->status, 202, 'an event');
is(counted('south'), 0, 'without a quota nothing is counted');

quota(100);

my $r = send_events('/off', 101);
$t->is_problem($r, 413, 'batch-too-large',
    { detail => 'over the quota of events a day of this tenant, 100: 0 accepted today, 101 never fit, 100 would fit now' },
    'more than a day has');
is($r->header('Retry-After'), undef, 'which is never to be sent again');

is(send_events('/off', 60)->status, 202, '60 of 100');
$r = send_events('/off', 41, $second);
$t->is_problem($r, 429, 'quota-exceeded',
    { detail => 'over the quota of events a day of this tenant, 100: 60 accepted today, of 41, 40 would fit now' },
    'a batch is refused whole, of another key of the tenant too');
cmp_ok(abs($r->header('Retry-After') - until_midnight()), '<=', 5, 'until midnight UTC');
is(send_events('/off', 101, $other)->status, 202, 'another tenant has nothing to do with it');

is(send_events('/off', 0)->status, 400, 'what is no event');
is(send_events('/off', 40, $second)->status, 202, 'what was said to fit fits');
$t->is_problem(send_events('/off', 1), 429, 'quota-exceeded', { detail => qr/: 100 accepted today, of 1, 0 would fit now$/ }, 'no more');

# ---- with limits

sub left {
    my $r = send_events('/both', 1, $_[0]);

    return $1 if ($r->header('RateLimit') // '') =~ /"tenant-events";r=(\d+)/;
    return;
}

quota(1000);
my $before = left($key);

for (1 .. 5) {
    $t->is_problem(send_events('/both', 950), 429, 'quota-exceeded', { detail => qr/: 101 accepted today, of 950/ },
        'what the limit lets through the quota refuses');
}

cmp_ok(left($key), '>=', $before - 1, 'and the limit gets it back');

is(send_events('/both', 300)->status, 202, 'a part fits');
is(send_events('/both', 500)->status, 202, 'both are used');
quota(2000);
$t->is_problem(send_events('/both', 900), 429, 'rate-limited', { detail => qr/events of this tenant/ }, 'the limit refuses');
is(send_events('/off', 2000 - 902)->status, 202, 'what the limit refuses the quota gets back');
is(send_events('/off', 1)->status, 429, 'to the last');

# ---- kept

$t->wait_for('it is written down', 30, sub { counted() == 2000 });
like($t->read_file($t->queue . '/events-today'), qr/\Anorth \d+ 2000\n\z/, 'in a line');
like($registry->must(qw(tenant show north --queue), $t->queue), qr/^events today\W+2000$/m, 'nucleusctl tells');

$t->reload;
$t->wait_old;
is(send_events('/off', 1)->status, 429, 'kept through a reload');

$t->expect_log(qr/\[alert\] .* exited on signal 9/);
my @killed = $t->nginx_workers;
kill 'KILL', @killed;
$t->wait_for('new processes', 20, sub {
    my %now = map { $_ => 1 } $t->nginx_workers;
    return keys %now == 2 && !grep { $now{$_} } @killed;
});
$t->wait_ready;
is(send_events('/off', 1)->status, 429, 'and when processes are killed');

quota(3000);
is(send_events('/off', 500)->status, 202, 'a larger quota');
$t->stop('nginx');
like($t->read_file($t->queue . '/events-today'), qr/\Anorth \d+ 2500\n\z/, 'written at the end');
$t->start_nginx;
$t->wait_ready;
$t->is_problem(send_events('/off', 501), 429, 'quota-exceeded', { detail => qr/: 2500 accepted today, of 501, 500 would fit now$/ },
    'kept through a restart');

# ---- what is refused after it was counted

$before = left($key);
set(qw(--inflight 50k));
$t->is_problem(send_events('/both', 400), 413, 'body-too-large', undef, 'records that are too many bytes') for 1 .. 5;
set(qw(--inflight none));
cmp_ok(left($key), '>=', $before - 1, 'the limit gets back what was refused then');
$t->is_problem(send_events('/off', 499), 429, 'quota-exceeded', { detail => qr/ 498 would fit now$/ }, 'and so does the quota');

# ---- a day before

$t->stop('nginx');
$t->write_file($t->queue . '/events-today', sprintf("north %d 2999\n", today() - 1));
$t->start_nginx;
$t->wait_ready;
$t->is_problem(send_events('/off', 3001), 413, 'batch-too-large', { detail => qr/: 0 accepted today/ }, 'another day does not count');

# ---- two processes, many connections

quota(500);

my @pids;

for my $i (1 .. 4) {
    my $pid = fork // die "fork: $!";
    next if push(@pids, $pid) && $pid;

    my $accepted = 0;

    for (1 .. 60) {
        $accepted += 3 if send_events('/off', 3)->status == 202;
    }

    $t->write_file("accepted-$i", $accepted);
    POSIX::_exit(0);
}

waitpid($_, 0) for @pids;

my $accepted = 0;
$accepted += $t->read_file("accepted-$_") for 1 .. 4;
is($accepted, 498, 'as many as there are, among all processes');

quota('none');
is(send_events('/off', 600)->status, 202, 'without a quota');

$t->finish;
done_testing;
