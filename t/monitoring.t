#!/usr/bin/perl

# The alert rules, on a real Prometheus that scrapes a real nginx and worker: each state that an alert is for is
# brought about, the alert fires, no other does but those that are said to go with it, and it is over when the
# state is.  The rules are those that are shipped, but for their times (Nucleus::Prometheus).

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(time);

use Nucleus::Fault;
use Nucleus::Metrics;
use Nucleus::Prometheus;
use Nucleus::Test;

use constant STATE_SECONDS => 60;

my $t = Nucleus::Test->new(
    keys          => 1,
    workers       => 2,
    queue_options => 'min_free=1m max_size=48m segment=1m timeout=2s',
    http          => 'nucleus_zone 64k; keepalive_timeout 0;',
    api           => 'unix:%%DIR%%/worker.sock',
    pipeline      => 'batch_time 50ms;',
    server        => 'nucleus_auth_delay 0;',
    locations     => <<'END',
        location = /metrics        { nucleus_status; }
        location = /worker/metrics { proxy_pass http://unix:%%DIR%%/worker.sock:/metrics; }
        location = /limited { nucleus auto; nucleus_limit tenant rate=1r/s burst=1; }
        location = /open    { nucleus auto; nucleus_auth off; nucleus_tenant $arg_tenant; nucleus_stream $arg_stream; nucleus_limit off; }
END
);

my $dir = $t->dir;
my $registry = $t->registry;
my %key = map { $_ => $registry->key(tenant => $_) } qw(north quiet greedy nucleus-check);
$t->write_file('check.key', $key{'nucleus-check'}{key} . "\n");
chmod 0600, "$dir/check.key";

my $fault = Nucleus::Fault->new($t);

# what is wrong is said, and somebody has to say so
$t->expect_log(
    qr/nucleus queue for (?:small|large) bodies accepts no events/,
    qr/nucleus queue for (?:small|large) bodies was left/,
    qr/nucleus registry: snapshot .* not usable/,
    qr/"process":"(?:store|supervisor)".*(?:pipeline failed|process ended)/,
    qr/keeper's round failed/,
    qr/damage in the queue was passed over/,
    qr/damaged bytes copied to quarantine/,
    qr/records were passed that nobody has counted/,
    qr/\[crit\].*connect\(\) to unix:.*worker\.sock failed/,
    qr/\[crit\].*(?:sync|disk)/,
);

$t->start_nginx(env => $fault->env) or die "nginx does not start\n";
$t->start_worker or die "nucleus-worker does not start\n";

# ---- those who send, all the time

# Each word in the file "traffic" is something to do: north, quiet (a batch each), check.
sub traffic { $t->write_file('traffic.new', "@_\n"); rename "$dir/traffic.new", "$dir/traffic" }

$t->write_file('traffic.pl', <<'END');
use strict;
use warnings;
use IO::Socket::INET;
use Time::HiRes qw(time sleep);
my ($dir, $port, $ctl, %key) = @ARGV;
my $checked = 0;
my $body = '[' . join(',', ('{"pad":"xxxxxxxx"}') x 50) . ']';
while (1) {
    my $begin = time;
    my %do;
    if (open my $fh, '<', "$dir/traffic") { $do{$_} = 1 for split ' ', <$fh> // '' }
    for my $tenant (grep { $do{$_} } sort keys %key) {
        my $c = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 1) or next;
        $c->setsockopt(SOL_SOCKET, SO_RCVTIMEO, pack 'l!l!', 3, 0);
        print $c "POST /events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n",
            "Authorization: Bearer $key{$tenant}\r\nContent-Length: ", length $body, "\r\n\r\n$body";
        1 while sysread $c, my $answer, 4096;
    }
    if ($do{check} && time > $checked + 1) {
        system "$ctl check --url http://127.0.0.1:$port/events --key-file $dir/check.key --timeout 2s "
            . "--api unix:$dir/worker.sock --textfile $dir/node.prom >/dev/null 2>&1";
        $checked = time;
    }
    my $left = $begin + 0.1 - time;
    sleep $left if $left > 0;
}
END

traffic(qw(north quiet check));
$t->spawn('traffic', [ $^X, "$dir/traffic.pl", $dir, $t->port, Nucleus::Test::ctl_binary(), map { ($_ => $key{$_}{key}) } qw(north quiet) ]);

my $p = Nucleus::Prometheus->new($t);
$p->start or BAIL_OUT('Prometheus does not start');

# ---- alerts

my @names = $t->read_file("$Nucleus::Prometheus::DIR/nucleus.rules.yml") =~ /^ +- alert: (\w+)$/mg;
my %seen;

# What nobody can send or count for a while looks so afterwards, in windows of a few seconds.
my @OUTAGE = qw(NucleusTrafficLow NucleusTenantSilent NucleusCheckFailed NucleusServerErrors);

# fires: a list; with: what may fire beside it; begin, step (while it is waited for), end: code.
sub state_of {
    my ($name, %state) = @_;

    my $began = time;
    my %may = map { $_ => 1 } @{ $state{fires} }, @{ $state{with} // [] };
    my (%fired, %unexpected, %left);

    my $look = sub {
        my $firing = $p->firing;
        %left = %$firing;
        $fired{$_} = 1 for keys %$firing;
        $unexpected{$_} = 1 for grep { !$may{$_} } keys %$firing;
        $seen{$_} //= $firing->{$_}[0] for keys %$firing;
    };

    $state{begin}->() if $state{begin};

    my $all = $t->wait_for("$name: @{ $state{fires} }", STATE_SECONDS, sub {
        $state{step}->() if $state{step};
        $look->();
        return !grep { !$fired{$_} } @{ $state{fires} };
    });
    ok($all, "$name: fires: @{ $state{fires} }") or diag('fired: ' . join ' ', sort keys %fired);

    $state{end}->() if $state{end};

    my $over = $t->wait_for("$name: over", STATE_SECONDS, sub { $look->(); return !%left });
    ok($over, "$name: it is over") or diag('still firing: ' . join ' ', sort keys %left);
    is(join(' ', sort keys %unexpected), '', "$name: no other alert");
    diag(sprintf '%s: %.1f s, also %s', $name, time - $began, join ' ', grep { my $f = $_; !grep { $_ eq $f } @{ $state{fires} } } sort keys %fired)
        if $ENV{NUCLEUS_SHOW};
    BAIL_OUT("after \"$name\" nothing can be told of what follows") if !$over;
}

sub pipeline_pid { return $t->status->{process}{pid} }

sub events_of {
    my ($tenant, $count, $uri, $pad) = @_;

    return map {
        $t->post($uri // '/events', $pad ? '{"pad":"' . 'x' x $pad . '"}' : '{}', headers => $key{$tenant}{bearer})->status
    } 1 .. $count;
}

$t->wait_for('it is seen for as long as the rules look back', 90, sub {
    my $week = $p->query('job:nucleus_events_accepted:increase1h offset 16s');
    return ref $week && @$week && $week->[0]{value} > 1000;
}) or BAIL_OUT('no traffic');
is(join(' ', sort keys %{ $p->firing }), '', 'while all is well no alert fires');

# ---- the worker

my $stopped;
state_of('a pipeline that hangs, until the queue is almost full',
    fires => [qw(NucleusPipelineLate NucleusPipelineFallingBehind NucleusQueueNearlyFull NucleusQueueFilling NucleusCheckFailed)],
    begin => sub { kill STOP => $stopped = pipeline_pid() },
    step  => sub {
        my $page = Nucleus::Metrics->new($t->get('/metrics')->body);
        events_of('north', 5, '/events', 250_000) if ($page->value('nucleus_queue_bytes') // 0) < 0.85 * (48 << 20);
    },
    end  => sub { kill CONT => $stopped },
    with => [ @OUTAGE, 'NucleusQueueNotReady' ]);

state_of('no worker',
    fires => [qw(NucleusWorkerDown)],
    with  => [qw(NucleusCheckFailed NucleusPipelineLate NucleusPipelineFallingBehind NucleusQueueFilling)],
    begin => sub { $t->stop('worker') },
    end   => sub { $t->start_worker });

my ($kills, $killed, $file, $content) = (0, 0);
state_of('a pipeline that crashes',
    fires => [qw(NucleusPipelineRestarting)],
    with  => [qw(NucleusCheckFailed NucleusPipelineDown NucleusPipelineLate)],
    step  => sub {
        my $pid = eval { pipeline_pid() } or return;
        return if $pid == $killed;
        kill KILL => $killed = $pid;
    });

state_of('a store that somebody has changed',
    fires => [qw(NucleusPipelineDown NucleusPipelineErrors)],
    with  => [qw(NucleusCheckFailed NucleusPipelineLate NucleusPipelineFallingBehind NucleusPipelineRestarting NucleusQueueFilling)],
    begin => sub {
        my $pid = pipeline_pid();
        $t->signal('STOP', 'worker');
        kill KILL => $pid;
        ($file) = sort { -s $b <=> -s $a } glob $t->store . '/*/tenant=north/*/*/*.ndjson';
        $content = $t->read_file($file);
        $t->write_file($file, '');
        $t->signal('CONT', 'worker');
    },
    end => sub { $t->write_file($file, $content) });

state_of('a commit that the keeper cannot read',
    fires => [qw(NucleusKeeperDown)],
    with  => [qw(NucleusQueueFilling)],
    begin => sub { $t->write_file($t->state . '/pipelines/ghost/commit', "nothing\n") },
    end   => sub { unlink $t->state . '/pipelines/ghost/commit'; rmdir $t->state . '/pipelines/ghost' });

# ---- damage

sub spoil_marked {
    my ($marker) = @_;

    for my $segment (glob $t->queue . '/*/*.seg') {
        my $at = index $t->read_file($segment), $marker;
        next if $at < 0;
        open my $fh, '+<:raw', $segment or die "open of $segment failed: $!\n";
        seek $fh, $at, 0;
        print {$fh} 'XX';
        close $fh;
        return 1;
    }

    return 0;
}

state_of('damage in the queue, which the keeper finds when the writer is gone',
    fires => [qw(NucleusRecordsCorrupt NucleusQueueQuarantined)],
    with  => [qw(NucleusCheckFailed NucleusPipelineLate NucleusPipelineFallingBehind)],
    begin => sub {
        my $pid = pipeline_pid();
        kill STOP => $pid;
        is($t->post('/events', '{"marker":"to-be-damaged"}', headers => $key{north}{bearer})->status, 202, 'a record');
        ok(spoil_marked('to-be-damaged'), 'that is damaged');
        kill CONT => $pid;
        $t->reload;
    });

sub crc32c {
    my ($crc, $bytes) = (0xffffffff, @_);

    for my $byte (unpack 'C*', $bytes) {
        $crc ^= $byte;
        $crc = $crc & 1 ? ($crc >> 1) ^ 0x82f63b78 : $crc >> 1 for 1 .. 8;
    }

    return $crc ^ 0xffffffff;
}

my $source;

# So many sequences more have been passed than are in the books.
sub cook_books {
    my ($more) = @_;

    my $commit = $t->state . '/pipelines/store/commit';

    $t->stop('worker');
    my $body = substr $t->read_file($commit), 0, -16;

    # the newest of those that have sent
    $source //= (sort $body =~ /^writer (\S+) .* delivered [1-9]/mg)[-1];
    $body =~ s/^(writer \Q$source\E .* sequence )(\d+)/$1 . ($2 + $more)/me or die "no writer $source in the commit\n";
    $t->write_file($commit, $body . sprintf("crc32c %08x\n", crc32c($body)));
    $t->start_worker;
}

# when that is taken back, one is missing between two sequences
state_of('books that do not balance',
    fires => [qw(NucleusBooksUnbalanced)],
    with  => [qw(NucleusCheckFailed NucleusWorkerDown NucleusRecordsCorrupt)],
    begin => sub { cook_books(1) },
    end   => sub { cook_books(-1) });

# ---- nginx

state_of('a full disk',
    fires => [qw(NucleusQueueNotReady NucleusServerErrors NucleusQueueDiskNearlyFull)],
    with  => [ @OUTAGE, qw(NucleusQueueFilling) ],
    begin => sub { $fault->set('space-none') },
    end   => sub { $fault->clear });

state_of('a disk that hangs',
    fires => [qw(NucleusOutcomeUnknown NucleusQueueNotReady)],
    with  => [ @OUTAGE, qw(NucleusSyncSlow) ],
    begin => sub { $fault->set('sync-stall') },
    end   => sub { $fault->clear });

my ($stalled, $since) = (0, 0);
state_of('a disk that is slow',
    fires => [qw(NucleusSyncSlow)],
    with  => [qw(NucleusCheckFailed NucleusQueueNotReady NucleusTrafficLow NucleusTenantSilent)],
    step  => sub {
        return if time < $since + 1;
        $since = time;
        $stalled = !$stalled;
        $stalled ? $fault->set('sync-stall') : $fault->clear;
    },
    end => sub { $fault->clear });

# ---- those who send

state_of('wrong keys',
    fires => [qw(NucleusAuthFailures)],
    step  => sub { $t->post('/events', '{}', headers => [ Authorization => "Bearer $_" ]) for ('nuc_k7f3m9q2xwtd_' . 'x' x 49) x 5 });

state_of('a tenant over its limit',
    fires => [qw(NucleusRequestsLimited)],
    step  => sub { events_of('greedy', 5, '/limited') });

my $good = $t->read_file($registry->snapshot);

sub replace_snapshot {
    my ($bytes) = @_;

    my $path = $registry->snapshot;
    $t->write_file("$path.new", $bytes);
    chmod 0644, "$path.new";
    rename "$path.new", $path or die "rename failed: $!\n";
}

state_of('a registry that is broken',
    fires => [qw(NucleusRegistryNotReady)],
    begin => sub { replace_snapshot('x' x 4096) },
    end   => sub { replace_snapshot($good) });

my ($one) = $t->nginx_workers;
state_of('a process that does not take up a change',
    fires => [qw(NucleusRegistryGenerations)],
    with  => [@OUTAGE],
    begin => sub { kill STOP => $one; $registry->must(qw(tenant create another)) },
    end   => sub { kill CONT => $one });

state_of('a tenant that has gone silent',
    fires => [qw(NucleusTenantSilent)],
    begin => sub { traffic(qw(north check)) },
    end   => sub { traffic(qw(north quiet check)) });

state_of('few events',
    fires => [qw(NucleusTrafficLow)],
    with  => [qw(NucleusTenantSilent)],
    begin => sub { traffic(qw(quiet check)); },
    step  => sub { traffic('check') },
    end   => sub { traffic(qw(north quiet check)) });

state_of('nobody checks',
    fires => [qw(NucleusCheckMissing)],
    begin => sub { traffic(qw(north quiet)) },
    end   => sub { traffic(qw(north quiet check)) });

my $tenants = 0;
state_of('more tenants than there is room for',
    fires => [qw(NucleusSeriesOverflow)],
    with  => [qw(NucleusTenantSilent)],
    step  => sub { $t->post('/open?tenant=t' . ++$tenants . '&stream=s', '{}') for 1 .. 50 });

state_of('no nginx',
    fires => [qw(NucleusNginxDown)],
    with  => [@OUTAGE],
    begin => sub { $t->stop('nginx') },
    end   => sub { $t->start_nginx(env => $fault->env) });

# ---- was each seen?

# half of the memory is all that one sender gets, so that none can bring this about alone
my %not_provoked = (NucleusInflightNearlyFull => 1);

is(join(' ', grep { !$seen{$_} && !$not_provoked{$_} } @names), '', 'each alert was seen');

for my $name (sort keys %seen) {
    my $alert = $seen{$name};
    my @wrong = grep { ($alert->{annotations}{$_} // '') !~ /\w{3}/ || $alert->{annotations}{$_} =~ /<no value>|<error|%!|NaN/ }
        qw(summary description runbook_url);
    is("@wrong", '', "$name: its annotations") or diag(explain($alert));
}

$t->finish;
done_testing;
