#!/usr/bin/perl

# Half of what this machine can do, for as long as it takes, with a fault in every round: nothing is lost or doubled, memory and
# descriptors stay where they were, and between the faults nobody waits for long.
#
#     NUCLEUS_SOAK=30m        that long, a fault a minute (else two rounds of some seconds)
#
# Most events are wrk's, which has no identities for them: they are counted, and no record may be in the store twice. A ledger beside
# it (Nucleus::Ledger) knows each of its events.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use List::Util qw(max sum0);
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

use Nucleus::Fault;
use Nucleus::Ledger;
use Nucleus::Metrics;
use Nucleus::Process;
use Nucleus::Test;

use constant {
    CONNECTIONS => 64,
    PATIENCE    => 120,
    P99         => 20,                # ms
    MEMORY      => 8 << 20,           # bytes more than at first that all of nginx, and all of the worker, may have
};

my %unit = (s => 1, m => 60, h => 3600);
my ($number, $unit) = ($ENV{NUCLEUS_SOAK} // '') =~ /^(\d+)([smh])$/;
my $full = defined $number;
my $round = $full ? 60 : 8;           # seconds
my $rounds = $full ? max(1, int($number * $unit{$unit} / $round)) : 2;

my $t = Nucleus::Test->new(
    keys          => 1,
    workers       => 2,
    queue_options => 'min_free=0 segment=16m timeout=2s',
    main          => join('', Nucleus::Fault::directives()) . 'worker_shutdown_timeout 10s;',
    http          => 'keepalive_requests 100000;',
    locations     => <<'END',
        location = /load    { nucleus auto; nucleus_stream load; nucleus_limit off; access_log off; }
        location = /metrics { nucleus_status; access_log off; }
END
);
my $fault = Nucleus::Fault->new($t);
my $key = $t->registry->key;

$t->expect_log(
    qr/\[alert\].*worker process \d+ exited on signal 9/,
    qr/process ended, will be started again/,
    qr/\[crit\].*nucleus queue for \w+ bodies accepts no events: .*has not answered/,
);

$t->start_nginx(env => $fault->env) or die "nginx does not start\n";
$t->start_worker or die "nucleus-worker does not start\n";
$t->wait_for('nginx knows the key', 10, sub { !@{ $t->registry->json('snapshot')->{behind} } });

# ---- the load

$t->write_file('load.lua', <<'END');
local threads = {}
local pause = tonumber(os.getenv("SOAK_PAUSE") or "") or 0

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = os.getenv("SOAK_AUTHORIZATION")
wrk.body = '{"actor":"mailto:soak@example.org","verb":"http://adlnet.gov/expapi/verbs/answered","object":"https://example.org/q/7"}'

function setup(thread)
   table.insert(threads, thread)
end

function init(args)
   taken, refused = 0, 0
end

-- ms, on average
function delay()
   return pause == 0 and 0 or math.floor(math.random() * 2 * pause)
end

function response(status)
   if status == 202 then taken = taken + 1 else refused = refused + 1 end
end

function done(summary, latency)
   local all, bad = 0, 0
   for _, thread in ipairs(threads) do
      all = all + thread:get("taken")
      bad = bad + thread:get("refused")
   end
   print(string.format("taken=%d refused=%d p99=%.3f seconds=%.3f", all, bad, latency:percentile(99) / 1e3, summary.duration / 1e6))
end
END

# What wrk says when it ends; its requests that are on their way then are one a connection.
my %load = (taken => 0, refused => 0, cut => 0);

sub begin_load {
    my ($seconds, $pause) = @_;

    my ($scheme, $secret) = @{ $key->{bearer} };
    my $pid = fork // die "fork: $!\n";

    if ($pid == 0) {
        $ENV{SOAK_AUTHORIZATION} = $secret;
        $ENV{SOAK_PAUSE} = $pause;
        open(STDOUT, '>', $t->dir . '/wrk.out') && open(STDERR, '>&', \*STDOUT) or POSIX::_exit(1);
        { exec('wrk', '-t1', '-c' . CONNECTIONS, "-d${seconds}s", '--timeout', '10s', '-s', $t->dir . '/load.lua',
            'http://127.0.0.1:' . $t->port . '/load') };
        POSIX::_exit(1);
    }

    return $pid;
}

sub end_load {
    my ($pid) = @_;

    waitpid $pid, 0;
    my $out = $t->read_file('wrk.out');
    my %said = $out =~ /(\w+)=([\d.]+)/g;
    defined $said{taken} or die "wrk failed:\n$out\n";

    $load{$_} += $said{$_} for qw(taken refused);
    $load{cut} += CONNECTIONS;

    return \%said;
}

sub load { return end_load(begin_load(@_)) }

# ---- faults

sub pipeline { return ($t->children('worker', qr/^nucleus-store$/))[0] }

# nginx answers at once again
sub is_over {
    return $t->wait_for('events are taken again', PATIENCE, sub { $t->post('/events', '{}', headers => $key->{bearer})->status == 202 });
}

my @faults = (
    [ 'a reload', sub { $t->reload } ],
    [ 'kill -9 of a pipeline', sub { kill KILL => $t->wait_for('the pipeline runs', PATIENCE, \&pipeline) } ],
    [ 'a disk that stalls', sub {
        my $before = Nucleus::Metrics->new($t->get('/metrics')->body)->value('nucleus_problems_total');
        $fault->set('sync-stall');
        $t->wait_for('nginx tells of it', PATIENCE, sub {
            return Nucleus::Metrics->new($t->get('/metrics')->body)->value('nucleus_problems_total') > $before;
        });
        return $fault->clear;
    } ],
    [ 'kill -9 of an nginx process', sub { kill KILL => ($t->nginx_workers)[0] } ],
    [ 'a worker that is stopped for a while', sub {
        $t->stop('worker');
        load(2, 1);
        return $t->start_worker;
    } ],
    [ 'a change of the registry', sub { $t->registry->must(qw(key revoke), $t->registry->key(tenant => 'other')->{id}) } ],
    [ 'wrong keys', sub { $t->post('/events', '{}', headers => [ Authorization => "Bearer wrong-$_" ]) for 1 .. 5; return 1 } ],
);

# ---- what it takes

sub measure {
    my (@pids) = @_;

    my @alive = grep { -d "/proc/$_" } @pids;

    return [ sum0(map { Nucleus::Process::rss($_) } @alive), sum0(map { Nucleus::Process::descriptors($_) } @alive) ];
}

# Once nginx has seen that wrk's connections are gone.
sub measure_all {
    my $took;

    Nucleus::Test::poll_for(10, sub {
        $took = { nginx => measure($t->nginx_workers), worker => measure($t->pid('worker'), $t->children('worker')) };
        return $took->{nginx}[1] < CONNECTIONS;
    });

    return $took;
}

my $most = load(2, 0);
my $rate = $most->{taken} / $most->{seconds};
my $pause = CONNECTIONS / ($rate / 2) * 1e3;
diag(sprintf '%.0f requests a second at most, so %d connections that pause %.1f ms on average', $rate, CONNECTIONS, $pause);

my $ledger = Nucleus::Ledger->new($t, name => 'soak', senders => 2, pause => 0.2, kills => 1, headers => $key->{bearer});
$ledger->start;
$ledger->wait_answers(10);

my (@p99, @took);

for my $n (1 .. $rounds) {
    my ($name, $do) = @{ $faults[ ($n - 1) % @faults ] };
    my $begin = time;
    my $pid = begin_load($full ? 20 : 4, $pause);

    note(sprintf 'round %d: %s', $n, $name);
    $do->() or fail($name), last;
    end_load($pid);
    is_over() or last;

    my $left = int($round - (time - $begin));
    my $said = load(max($left, 2), $pause);
    is($said->{refused}, 0, "$name: afterwards all are taken") or last;

    push @p99, $said->{p99};
    push @took, measure_all();
}

$ledger->stop;

# ---- the books

$ledger->check('soak');

# what of wrk's was on its way may be stored or not, what was refused with "outcome-unknown" too
sub stored {
    my $store = $t->store;

    # a line begins with {"rid":" and 36 characters
    return split ' ', `find '$store' -path '*stream=load*' -name '*.ndjson' -exec cat {} + | LC_ALL=C cut -b 9-44 | LC_ALL=C sort -S 256m | LC_ALL=C uniq -c | awk '{ all += \$1; if (\$1 > 1) twice++ } END { print all + 0, twice + 0 }'`;
}

my ($all, $twice) = stored();
cmp_ok($all, '>=', $load{taken}, "of the load, all that was acknowledged is stored: $load{taken}");
cmp_ok($all, '<=', $load{taken} + $load{refused} + $load{cut}, 'and nothing that was never sent');
is($twice, 0, 'nothing twice');

# ---- what it took

my ($first, $last) = @took[ $full ? 1 : 0, -1 ];

for my $who (qw(nginx worker)) {
    diag(sprintf '%s: RSS %s MB, %s descriptors', $who, join(' ', map { sprintf '%.1f', $_->{$who}[0] / (1 << 20) } @took),
        join(' ', map { $_->{$who}[1] } @took));
}

diag('p99 in ms, between the faults: ' . join(' ', map { sprintf '%.1f', $_ } @p99));

if ($full) {
    cmp_ok($last->{$_}[0], '<=', $first->{$_}[0] + MEMORY, "$_: memory is where it was") for qw(nginx worker);
    cmp_ok($last->{$_}[1], '<=', $first->{$_}[1] + 8, "$_: descriptors are where they were") for qw(nginx worker);
    is(scalar(grep { $_ >= P99 } @p99), 0, 'nobody waited for long') or diag("@p99");
}

$t->finish;
done_testing;
