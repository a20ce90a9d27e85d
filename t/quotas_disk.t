#!/usr/bin/perl

# What is refused with 503 after it was counted is given back, to limits and quotas, whatever has become of the
# request meanwhile; what may be stored is not.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Nucleus::Client;
use Nucleus::Fault;
use Nucleus::Http2;
use Nucleus::Test;

# since 1.25.1 it is a directive
my ($listen, $http2) = Nucleus::Test::nginx_has('version: nginx/1\.2[234]\.') ? (' http2', '') : ('', 'http2 on;');
my $limit = 'nucleus_max_events 10000; nucleus_limit tenant rate=1e/s burst=3000;';

my $t = Nucleus::Test->new(
    keys          => 1,
    queue_options => 'min_free=0 segment=200k timeout=20s',
    locations     => <<"END",
        location = /both { nucleus auto; $limit }
        location = /app  { mirror /copy; proxy_pass http://127.0.0.1:%%PORT%%/live; proxy_method GET; }
        location = /copy { internal; nucleus auto; $limit log_subrequest on; }
END
    http => <<"END",
    server {
        listen 127.0.0.1:%%PORT2%%$listen;
        $http2
        location = /both { nucleus auto; $limit }
    }
END
);
my $fault = Nucleus::Fault->new($t);

$t->expect_log(qr/\[crit\].*nucleus queue for \w+ bodies accepts no events: (?:.*sync|the disk has not answered)/);

# what is counted is of one day
if (86400 - time % 86400 < 120) {
    my $day = int(time / 86400);
    $t->wait_for('a new day', 130, sub { int(time / 86400) > $day });
}

$t->start_nginx(env => $fault->env) or die "nginx does not start\n";
$t->start_worker or die "nucleus-worker does not start\n";

my $registry = $t->registry;
my $key = $registry->key(tenant => 'north');

$registry->must(qw(tenant limits north --events-a-day 2000 --inflight 100k));
$t->wait_for('nginx knows the limits', 10, sub { !@{ $registry->json('snapshot')->{behind} } });

sub body { return '[' . join(',', ('{}') x $_[0]) . ']' }

sub send_events { return $t->post('/both', body($_[0]), headers => $key->{bearer}) }

# What has been counted, of the quota and of the limit
sub is_counted {
    my ($events, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $r = send_events(2001);
    $t->is_problem($r, 413, 'batch-too-large', { detail => qr/2000: $events accepted today/ }, "$name, by the quota");

    # the limit gains one a second
    my ($left) = ($t->post('/both', body(4000), headers => $key->{bearer})->header('RateLimit') // '') =~ /r=(\d+)/;
    ok(defined $left && $left >= 3000 - $events && $left <= 3060 - $events, "$name, by the limit")
        or diag('left: ' . ($left // '?'));
}

is(send_events(100)->status, 202, 'events are taken');
is_counted(100, 'which counts');

# ---- memory

$fault->set('sync-stall');
my $hits = $fault->hits // 0;
my $waiting = $t->client;
$waiting->send(Nucleus::Client::text('POST', '/both', [ 'Content-Type' => 'application/json', @{ $key->{bearer} } ], body(300)));
$t->wait_for('a request waits for the disk', 10, sub { ($fault->hits // 0) > $hits });
$t->is_problem(send_events(300), 503, 'busy', undef, 'more than may be in flight') for 1 .. 3;
is_counted(400, 'not counted');
$fault->clear;
is($waiting->response->status, 202, 'the one that waited is taken');
is_counted(400, 'and counted');

# ---- the outcome is unknown

$fault->set('sync-fail');
$t->is_problem(send_events(50), 503, 'outcome-unknown', undef, 'a sync fails');
$fault->clear;
$t->wait_ready(30);
is_counted(450, 'what may be stored is counted');

# ---- the disk is full when it comes to be written

my $counted = 450;

# ends a segment of the log, so that the next batch needs a new one
my $segment = sprintf '[{"x":"%s"},%s]', 'x' x 220_000, join ',', ('{}') x 9;

$registry->must(qw(tenant limits north --inflight 1m));
$t->wait_for('nginx knows the quota', 10, sub { !@{ $registry->json('snapshot')->{behind} } });

sub request { return Nucleus::Client::text('POST', $_[0], [ 'Content-Type' => 'application/json', @{ $key->{bearer} } ], $_[1]) }

sub full { return scalar(() = $t->read_file('error.log') =~ /accepts no events: .*No space left/g) }

# Until nginx has counted so many, which is before the queue takes them in the same call.
sub wait_counted {
    my ($events) = @_;

    return $t->wait_for("$events are counted", 20,
        sub { send_events(2001)->text =~ /2000: $events accepted today/ });
}

# One batch is synced while another waits behind it; what follows is done then, and the disk is full for the
# second one.  The first is stored, and remains counted.
sub full_behind {
    my ($name, %do) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    # there is a segment with room for the first
    is(send_events(1)->status, 202, "$name: an event before");
    $counted++;

    my ($hits, $full) = ($fault->hits // 0, full());
    my ($first, $second) = (Nucleus::Client->new(port => $t->port), undef);

    $fault->set('sync-stall');
    $first->send(request('/both', $segment));
    $t->wait_for('the first waits for the disk', 20, sub { ($fault->hits // 0) > $hits });
    $second = $do{send}->();
    wait_counted($counted + 30);
    $do{meanwhile}->($second) if $do{meanwhile};
    $fault->set('space-none');
    $do{after}->($first, $second);
    $t->wait_for('the second is refused', 20, sub { full() > $full }) if !$do{ended};
    $fault->clear;
    $t->wait_ready(30);
    $counted += 10;
    is_counted($counted, $name);
}

sub is_taken { is($_[0]->response->status, 202, 'the first is taken') }

$t->expect_log(qr/\[error\].*nucleus queue for \w+ bodies accepts no events/);

my $send = sub { my $c = $t->client; $c->send(request('/both', body(20))); return $c };

full_behind('refused with queue-full', send => $send, after => sub {
    my ($first, $second) = @_;

    is_taken($first);
    $t->is_problem($second->response, 503, 'queue-full', undef, 'the second finds no room');
});

full_behind('a client that has gone', send => $send, meanwhile => sub { $_[0]->reset }, after => sub { is_taken($_[0]) });

full_behind('a stream that was reset',
    send => sub {
        my $h = Nucleus::Http2->new(port => $t->port2);
        my $id = $h->open('/both', body(20), headers => [ authorization => $key->{bearer}[1] ]);
        return { h => $h, id => $id };
    },
    meanwhile => sub {
        $_[0]{h}->reset($_[0]{id}, 8);
        $t->wait_for('nginx has noticed', 20, sub { $t->read_file('access.log') =~ m{"POST /both HTTP/2\.0" 499 } });
    },
    after => sub {
        is_taken($_[0]);
        $_[1]{h}->close;
    });

full_behind('the copy of a mirror',
    send => sub {
        my $c = $t->client;
        $c->send(request('/app', body(20)));
        is($c->response->status, 200, 'the application answers');
        $c->close;
    },
    meanwhile => sub { $t->wait_for('the copy is answered', 20, sub { $t->read_file('access.log') =~ m{"POST /app HTTP/1\.1" 202 } }) },
    after     => sub { is_taken($_[0]) });

# ---- the process ends before the disk says so

{
    my ($process) = $t->nginx_workers;

    full_behind('a process that was ended', ended => 1, send => $send,
        meanwhile => sub {
            kill TERM => $process;
            $t->wait_for('it ends', 20, sub { $t->read_file('error.log') =~ /\b$process#\d+: exiting\n/ });
        },
        after => sub { $t->wait_for('there is another one', 30, sub { my ($new) = $t->nginx_workers; $new && $new != $process }) });
}

# ---- the time is up before it does

$t->write_confs(queue_options => 'min_free=0 segment=200k timeout=2s');
$t->reload;
full_behind('answered with outcome-unknown, and refused later', send => $send,
    meanwhile => sub { $t->is_problem($_[0]->response, 503, 'outcome-unknown', undef, 'its time is up') },
    after => sub { $t->is_problem($_[0]->response, 503, 'outcome-unknown', undef, 'so is that of the first, which is stored') });

# but for the 50 whose sync has failed, of which nobody knows
my @stored = $t->wait_events($counted - 50);
like(scalar @stored, qr/^(?:$counted|@{[ $counted - 50 ]})$/, 'as many are counted as are stored');

$t->finish;
done_testing;
