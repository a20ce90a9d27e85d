#!/usr/bin/perl

# The ledger of DESIGN.md: whatever is killed, reloaded or filled up, every event that was
# acknowledged is in the store exactly once and unchanged, and none that was refused is.
#
#     NUCLEUS_TORTURE=full    20 kills, 5 reloads, a full disk (else 4, 1 and none)
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

my $full = ($ENV{NUCLEUS_TORTURE} // '') eq 'full';

Nucleus::Disk::namespace() if $full;

my $seed = $ENV{NUCLEUS_SEED} // time % 1_000_000;
$seed = int $seed;
diag("seed $seed");

# many small batches, segments and files: many moments at which a kill can hurt
my $t = Nucleus::Test->new(
    workers       => 2,
    queue_options => 'min_free=0 segment=1m timeout=5s',
    pipeline      => 'batch_time 20ms;',
    sink          => 'file_size 2m;',
);
my $disk = $full ? Nucleus::Disk::mount($t, 'queue', 128 << 20) : undef;
my $fault = $full && !$disk ? Nucleus::Fault->new($t) : undef;
my @env = $fault ? (env => $fault->env) : ();

# what the logs rightly say
$t->expect_log(
    qr/\[alert\].*worker process \d+ exited on signal 9/,
    qr/process ended, will be started again/,
    qr/keeper cannot start.*another process keeps the queue/,
    qr/keeper's round failed.*No space left/,
);

$t->start_nginx(@env) or die "nginx does not start\n";
$t->start_worker or die "nucleus-worker does not start\n";

# ---- reloads alone

{
    my $calm = Nucleus::Ledger->new($t, seed => $seed, name => 'calm');

    $calm->start;
    $calm->wait_answers(50);

    for my $reload (1 .. ($full ? 5 : 1)) {
        my $seen = $calm->answers;

        $t->reload or last;
        $calm->wait_answers($seen + 30);
    }

    $calm->stop;

    my $count = $calm->count;
    note('reloads alone: ', join ', ', map { "$_: $count->{$_}" } sort keys %$count);
    is(scalar(grep { /^5/ } keys %$count), 0, 'reloads alone: no 5xx');
    is($count->{refused} // 0, 0, 'reloads alone: no connection refused');
    is($calm->unanswered_first, 0, 'reloads alone: every new connection has its answer')
        or diag($calm->unanswered_text);
    $calm->check('reloads alone');
}

# ---- kills, with senders that go on

srand($seed);

my $storm = Nucleus::Ledger->new($t, seed => $seed + 1, name => 'storm', senders => 6, pause => 0.01);

sub start_nginx_again {
    $t->start_nginx(ready => 0, @env) or die "nginx does not start again\n";
}

my %kill = (
    'one nginx process' => sub {
        my @pids = $t->nginx_workers or return 0;
        return kill KILL => $pids[ rand @pids ];
    },
    'all of nginx' => sub {
        $t->kill_all('nginx');
        start_nginx_again();
        return 1;
    },
    'the supervisor' => sub {
        kill KILL => $t->pid('worker');
        $t->wait_for('it is dead', 10, sub { $t->ended('worker') });
        $t->start_worker or die "nucleus-worker does not start again\n";
        return 1;
    },
    'a pipeline' => sub {
        my ($pid) = $t->wait_for('the pipeline runs', 40, sub { ($t->children('worker',
            qr/^nucleus-store$/))[0] });
        return kill KILL => $pid;
    },
);

my @plan = map { sort keys %kill } 1 .. ($full ? 5 : 1);
push @plan, ('a reload') x ($full ? 5 : 1);
@plan = map { $_->[1] } sort { $a->[0] <=> $b->[0] } map { [ rand, $_ ] } @plan;
push @plan, 'a full disk' if $full;
push @plan, 'all of nginx' if $full;

$storm->start;
$storm->wait_answers(30);

for my $deed (@plan) {
    my $seen = $storm->answers;
    my $before = ($storm->count)->{202} // 0;

    # the moment is the seed's
    sleep rand 0.8;
    note($deed);

    if ($kill{$deed}) {
        ok($kill{$deed}->(), $deed);

    } elsif ($deed eq 'a reload') {
        ok($t->reload(wait => 0), $deed);

    } else {
        my $refused = ($storm->count)->{503} // 0;
        my $ballast;

        if ($disk) {
            # the worker makes room for as long as it has something to remove
            $t->wait_for('events are refused', 60, sub {
                $ballast = Nucleus::Disk::fill($disk);
                return (($storm->count)->{503} // 0) > $refused + 5;
            }) && pass($deed);
            unlink $ballast;
        } else {
            $fault->set('space-none');
            $t->wait_for('events are refused', 60,
                sub { (($storm->count)->{503} // 0) > $refused + 5 }) && pass($deed);
            $fault->clear;
        }
    }

    $storm->wait_answers($seen + 20);
    $t->wait_for('events are acknowledged again', 60,
        sub { (($storm->count)->{202} // 0) > $before + 10 }) or last;
}

$storm->stop;

my $count = $storm->count;
note('in the storm: ', join ', ', map { "$_: $count->{$_}" } sort keys %$count);
cmp_ok($count->{202} // 0, '>=', 100, 'some were acknowledged');
cmp_ok($count->{400} // 0, '>=', 1, 'some were refused');

$storm->check('in the storm');

$t->finish;
done_testing;
