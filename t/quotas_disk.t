#!/usr/bin/perl

# What is refused with 503 after it was counted is given back, to limits and quotas; what may be stored is not.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Nucleus::Client;
use Nucleus::Fault;
use Nucleus::Test;

my $t = Nucleus::Test->new(
    keys          => 1,
    queue_options => 'min_free=0 segment=4m timeout=20s',
    locations     => 'location = /both { nucleus auto; nucleus_max_events 10000; nucleus_limit tenant rate=1e/s burst=3000; }',
);
my $fault = Nucleus::Fault->new($t);

$t->expect_log(qr/\[crit\].*nucleus queue for \w+ bodies accepts no events: .*sync/);

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

$t->finish;
done_testing;
