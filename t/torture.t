#!/usr/bin/perl

# The ledger of DESIGN.md: whatever is killed, reloaded, upgraded, filled up or stalled, every event
# that was acknowledged is in the store exactly once and unchanged, and none that was refused is.
#
#     NUCLEUS_TORTURE=full    200 kills, 60 reloads, 5 upgrades, full and stalled disks (else one of each)
#     NUCLEUS_SEED=N          the same choices again

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep time);

use Nucleus::Disk;
use Nucleus::Fault;
use Nucleus::Ledger;
use Nucleus::Test;

use constant {
    KILLS    => 4,      # kinds of them
    QUIET    => 3,      # seconds without a 503 after which a disk's fault is over
    BACKOFF  => 3,      # seconds that a pipeline's start may take
    PATIENCE => 120,
};

my $full = ($ENV{NUCLEUS_TORTURE} // '') eq 'full';
my %times = $full
    ? (calm_reload => 40, calm_upgrade => 3, kill => 50, reload => 20, upgrade => 2, fault => 2, change => 20)
    : (calm_reload => 2, calm_upgrade => 2, kill => 1, reload => 1, upgrade => 1, fault => 1, change => 1);

Nucleus::Disk::namespace() if $full;

my $seed = int($ENV{NUCLEUS_SEED} // time % 1_000_000);
diag("seed $seed");

# many small batches, segments and files: many moments at which a kill can hurt
my $t = Nucleus::Test->new(
    keys          => 1,
    workers       => 2,
    upgradable    => 1,
    queue_options => 'min_free=0 segment=1m timeout=2s',
    main          => join('', Nucleus::Fault::directives()) . 'worker_shutdown_timeout 10s;',
    pipeline      => 'batch_time 20ms;',
    sink          => 'file_size 2m;',
);
# room for what two hundred killed writers reserved before the keeper finds them, and to spare
my $disk = $full ? Nucleus::Disk::mount($t, 'queue', 512 << 20) : undef;
my $fault = Nucleus::Fault->new($t);
my $key = $t->registry->key;

# what the logs rightly say
$t->expect_log(
    qr/\[alert\].*worker process \d+ exited on signal 9/,
    qr/process ended, will be started again/,
    qr/keeper cannot start.*another process keeps the queue/,
    qr/process cannot start.*the supervisor has died/,
    qr/keeper's round failed.*No space left/,
    qr/\[crit\].*nucleus queue for \w+ bodies accepts no events: .*has not answered/,
);

sub start_nginx {
    my (%opt) = @_;

    $t->start_nginx(env => $fault->env, %opt) or die "nginx does not start\n";
}

start_nginx();
$t->start_worker or die "nucleus-worker does not start\n";

my %done;

sub tell_of {
    my ($ledger) = @_;

    diag("$ledger->{name}, answers: " . Nucleus::Ledger::numbers($ledger->count));
    diag("$ledger->{name}, sent again: " . Nucleus::Ledger::numbers($ledger->retries));
}

sub check {
    my ($ledger) = @_;

    my $books = $ledger->check($ledger->{name});
    diag("$ledger->{name}, events: " . Nucleus::Ledger::numbers($books));
}

# ---- reloads and upgrades alone: nobody notices

{
    my $calm = Nucleus::Ledger->new($t, seed => $seed, name => 'calm', headers => $key->{bearer});
    my $upgrades = 0;

    $calm->start;
    $calm->wait_answers(50);

    for my $number (1 .. $times{calm_reload}) {
        my $seen = $calm->answers;

        $t->reload or last;
        $done{'a reload'}++;

        if ($number * $times{calm_upgrade} / $times{calm_reload} >= $upgrades + 1) {

            # every other one is given up half-way
            my $back = $upgrades++ % 2;
            $t->upgrade(back => $back) or last;
            $done{ $back ? 'an upgrade and back' : 'an upgrade' }++;
        }

        $calm->wait_answers($seen + 30);
    }

    $calm->stop;
    tell_of($calm);

    my $count = $calm->count;
    is(scalar(grep { /^5/ } keys %$count), 0, 'calm: no 5xx');
    is($count->{refused} // 0, 0, 'calm: no connection refused');
    is(join("\n", $calm->unanswered), '', 'calm: every request has its answer, but for ends of idle connections');
    is(join(' ', grep { $_ ne 'idle' } keys %{ $calm->retries }), '', 'calm: and these alone are sent again');
    check($calm);
}

# ---- all at once, with senders that go on

srand($seed);

my $storm = Nucleus::Ledger->new($t, seed => $seed + 1, name => 'storm', senders => 6, pause => 0.01, kills => 1,
    headers => $key->{bearer});
my @faults;                      # [begin, end]: when the disk was to blame for 503

sub refusals { return $storm->answers_that(sub { $_[0]{status} == 503 }) }

# "do", until nginx refuses, then "undo", then until it does not any more.
sub disk_fault {
    my ($do, $undo, $again) = @_;

    my $begin = time;
    my $refused = refusals();

    $do->();

    $t->wait_for('events are refused', PATIENCE, sub {
        $again->() if $again;
        return refusals() > $refused + 5;
    }) or return 0;
    $undo->();

    my $count = refusals();
    my $last = time;
    $t->wait_for('no more are refused', PATIENCE, sub {
        my $now = refusals();
        ($last, $count) = (time, $now) if $now != $count;
        return time - $last > QUIET;
    }) or return 0;

    push @faults, [ $begin, $last ];

    return 1;
}

sub pipeline { return ($t->children('worker', qr/^nucleus-store$/))[0] }

my %deed;

%deed = (
    'kill -9 of an nginx process' => sub {
        my @pids = $t->nginx_workers or return 0;
        return kill KILL => $pids[ rand @pids ];
    },
    'kill -9 of all of nginx' => sub {
        $t->kill_all('nginx');
        start_nginx(ready => 0);
        return 1;
    },
    'kill -9 of the supervisor' => sub {
        kill KILL => $t->pid('worker');
        $t->wait_for('it is dead', 10, sub { $t->ended('worker') });
        $t->start_worker or die "nucleus-worker does not start again\n";
        return 1;
    },
    'kill -9 of a pipeline' => sub {
        my $pid = Nucleus::Test::poll_for(BACKOFF, \&pipeline);

        # killed again and again it starts later and later, and the queue fills; not under another one
        if (!$pid) {
            $deed{'kill -9 of the supervisor'}->();
            $done{'kill -9 of the supervisor'}++;
            $pid = $t->wait_for('the pipeline runs', PATIENCE, \&pipeline);
        }

        return kill KILL => $pid;
    },
    'a reload' => sub { $t->reload(wait => 0) },
    'a change of the registry' => sub { $t->registry->key },
    'an upgrade' => sub { $t->upgrade },
    'a full disk' => sub {
        my $ballast;

        if (!$disk) {
            return disk_fault(sub { $fault->set('space-none') }, sub { $fault->clear });
        }

        # the worker makes room for as long as it has something to remove
        my $fill = sub { $ballast = Nucleus::Disk::fill($disk) };
        return disk_fault($fill, sub { unlink $ballast }, $fill);
    },
    'a disk that stalls' => sub {
        return disk_fault(sub { $fault->set('sync-stall') }, sub { $fault->clear });
    },
);

my @plan = map { my $deed = $_; map { $deed } 1 .. $times{kill} } grep { /^kill/ } sort keys %deed;
is(@plan, KILLS * $times{kill}, 'the plan has its kills');
push @plan, ('a reload') x $times{reload}, ('an upgrade') x $times{upgrade};
push @plan, ('a change of the registry') x $times{change};
push @plan, ('a full disk', 'a disk that stalls') x $times{fault};
@plan = map { $_->[1] } sort { $a->[0] <=> $b->[0] } map { [ rand, $_ ] } @plan;

$storm->start;
$storm->wait_answers(30);

for my $deed (@plan) {
    my $seen = $storm->answers;
    my $before = ($storm->count)->{202} // 0;

    # the moment is the seed's
    sleep rand 0.5;
    note(sprintf '%.1f: %s', time, $deed);
    $deed{$deed}->() or fail($deed), last;
    $done{$deed}++;

    $storm->wait_answers($seen + 20);
    $t->wait_for('events are acknowledged again', PATIENCE,
        sub { (($storm->count)->{202} // 0) > $before + 10 }) or last;
}

$storm->stop;
tell_of($storm);

my $count = $storm->count;
cmp_ok($count->{202} // 0, '>=', 100, 'some were acknowledged');
cmp_ok($count->{400} // 0, '>=', 1, 'some were refused');
cmp_ok($count->{503} // 0, '>=', 1, 'some were refused by the disk');

is(join(' ', grep { !/^(?:202|400|503|none|refused|closed)$/ } keys %$count), '', 'no other status');
is(join("\n", $storm->answers_that(sub {
    my ($answer) = @_;
    return $answer->{status} == 503 && !grep { $answer->{when} >= $_->[0] && $answer->{when} <= $_->[1] } @faults;
})), '', 'no 503 but by a disk that is full or stalls');
is(join(' ', grep { $_ ne 'refused' } keys %{ $storm->retries }), '', 'only what was refused is sent again');

check($storm);

diag('done: ' . Nucleus::Ledger::numbers(\%done));

$t->finish;
done_testing;
