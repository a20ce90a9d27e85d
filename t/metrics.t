#!/usr/bin/perl

# nucleus_status: what the processes count together, in three formats, through reload, crash and restart, with a thousand
# tenants, for clients that read slowly, over HTTP/2.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

use Nucleus::Client;
use Nucleus::Metrics;
use Nucleus::Test;

my $t = Nucleus::Test->new(
    keys          => 1,
    workers       => 2,
    queue_options => 'min_free=1m max_size=1g segment=4m',
    http          => 'gzip_types text/plain application/openmetrics-text;',
    pipeline      => 'streams json;',     # not into ten thousand files
    locations     => <<'END',
        location = /metrics { nucleus_status; gzip on; }
        location = /slow    { nucleus_status; sendfile off; send_timeout 60s; }
        location = /limited { nucleus auto; nucleus_limit key rate=1r/s burst=1; }
        location = /open    { nucleus auto; nucleus_auth off; nucleus_tenant $arg_tenant; nucleus_stream $arg_stream; nucleus_limit off; }
        location = /copied  { mirror /copy; return 204; }
        location = /proxied { mirror /copy; proxy_pass http://127.0.0.1:%%PORT%%/up; }
        location = /up      { return 204; }
        location = /tiny    { nucleus auto; client_max_body_size 1k; }
        location = /copy    { internal; nucleus auto; nucleus_auth off; nucleus_tenant copies; }
        location = /if      { nucleus auto; nucleus_auth off; nucleus_tenant $arg_tenant; error_page 405 = /up; }
END
);

$t->start;

my $registry = $t->registry;
my $key = $registry->key(tenant => 'north');
my $revoked = $registry->key(tenant => 'north');
$registry->must(qw(key revoke), $revoked->{id});
$t->wait_for('all processes know the keys', 10, sub { !@{ $registry->json('snapshot')->{behind} } });

sub page {
    my (%options) = @_;

    my $r = $t->get($options{uri} // '/metrics', headers => $options{headers} // []);

    return Nucleus::Metrics->new($r->body);
}

# the page on which it is so; what other processes count of queues comes a second later
sub wait_page {
    my ($name, $code) = @_;

    my $page;

    $t->wait_for($name, 20, sub { local $_ = $page = page(); $code->() }) or diag $t->get('/metrics')->body;

    return $page;
}

# ---- formats

my $r = $t->get('/metrics');
is($r->status, 200, 'a page');
is($r->header('Content-Type'), 'text/plain; version=0.0.4; charset=utf-8', 'for Prometheus');
is(join("\n", page()->errors), '', 'to the format');

$r = $t->get('/metrics', headers => [ Accept => 'application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5' ]);
is($r->header('Content-Type'), 'application/openmetrics-text; version=1.0.0; charset=utf-8', 'OpenMetrics');
is(join("\n", Nucleus::Metrics->new($r->body)->errors), '', 'to the standard');
like($r->body, qr/\n# EOF\n\z/, 'with its end');

$r = $t->get('/metrics', headers => [ Accept => 'application/json' ]);
is($r->header('Content-Type'), 'application/json', 'JSON');
my $json = eval { JSON::PP->new->utf8->decode($r->body) };
is_deeply([ map { $_->{name} } @{ $json->{metrics} } ],
    [ map { my $f = page()->families->{$_}; $_ } map { /^# TYPE (\S+)/mg } $t->get('/metrics')->body ], 'the same families');

$r = $t->request('HEAD', '/metrics', []);
ok($r->status == 200 && $r->body eq '', 'HEAD');
is($t->post('/metrics', '{}')->status, 405, 'it is only to be read');

# ---- what is counted

my $none = page();
is($none->value('nucleus_problems_total'), 0, 'no problem yet');
is($none->value('nucleus_events_total'), undef, 'nor an event');
is($none->value('nucleus_processes'), 2, 'two processes');
is($none->value('nucleus_queue_ready', queue => $_), 1, "the queue for $_ bodies is ready") for qw(small large);
is($none->value('nucleus_queue_max_bytes'), 1 << 30, 'max_size');
is($none->value('nucleus_queue_min_free_bytes'), 1 << 20, 'min_free');
cmp_ok($none->value('nucleus_queue_free_bytes'), '>', 1 << 20, 'free');
is($none->value('nucleus_inflight_max_bytes'), 2 * (128 << 20), 'nucleus_max_inflight of both');
is($none->value('nucleus_registry_generation'), $registry->json('snapshot')->{generation}, 'the generation of the registry');
is($none->value('nucleus_registry_newest_generation'), $none->value('nucleus_registry_generation'), 'which all processes use');
is($none->value('nucleus_registry_ready'), 1, 'and could take up');
cmp_ok($none->value('nucleus_registry_age_seconds'), '<', 100, 'its age');
like($t->get('/metrics')->body, qr/^nucleus_build_info\{version="\d+\.\d+\.\d+",nginx="\d+\.\d+\.\d+"\} 1$/m, 'versions');

my @key = (headers => $key->{bearer});

is($t->post('/events', '{}', @key)->status, 202, 'an event') for 1 .. 3;
is($t->post('/events', '[' . join(',', ('{}') x 7) . ']', @key)->status, 202, 'seven');
is($t->post('/events', '{"pad":"' . 'x' x 300_000 . '"}', @key)->status, 202, 'a large one');
is($t->post('/events', '{', @key)->status, 400, 'what is none') for 1 .. 2;
is($t->post('/events', '{}')->status, 401, 'no key');
is($t->post('/events', '{}', headers => $revoked->{bearer})->status, 403, 'a revoked one');
is($t->get('/events')->status, 401, 'GET without a key');
is($t->request('GET', '/events', $key->{bearer})->status, 405, 'GET with one');
is($t->post('/tiny', '{}' . ' ' x 2000, @key)->status, 413, 'a body that nginx itself refuses');
$t->post('/limited', '{}', @key) for 1 .. 4;
is($t->get('/proxied')->status, 204, 'mirrored: GET') for 1 .. 2;
is($t->post('/proxied', '{}')->status, 204, 'mirrored: an event') for 1 .. 2;
is($t->post('/if?tenant=elsewhere', '{}')->status, 202, 'of another location');
is($t->get('/if?tenant=elsewhere')->status, 204, 'refused there, answered elsewhere');

my $page = wait_page('all is counted', sub {
    ($_->value('nucleus_events_total', tenant => 'copies', result => 'accepted') // 0) == 2
        && ($_->value('nucleus_durable_seconds_count', queue => 'large') // 0) == 1
        && $_->value('nucleus_queue_bytes') > 300_000
        && ($_->value('nucleus_sync_seconds_count', queue => 'small') // 0) >= 6;
});

sub counted { return $page->value(@_) // 0 }

my @north = (tenant => 'north', stream => 'json');
is(counted('nucleus_requests_total', @north, result => 'accepted'), 6, 'accepted requests, one of them limited');
is(counted('nucleus_requests_total', @north, result => 'limited'), 3, 'limited');
is(counted('nucleus_requests_total', tenant => 'north', result => 'invalid'), 3, 'invalid, also the method');
is(counted('nucleus_requests_total', tenant => '', result => 'invalid'), 4, 'what was refused before anybody asked whose it is');
is(counted('nucleus_requests_total', tenant => '', result => 'denied'), 2, 'denied, without a tenant');
is(counted('nucleus_requests_total', result => 'denied'), 3, 'and one of the tenant whose key was revoked');
is(counted('nucleus_requests_total', tenant => 'copies', result => 'accepted'), 2, 'mirrored requests');
is(counted('nucleus_requests_total', tenant => 'elsewhere', result => 'accepted'), 1, 'of another location');
is(counted('nucleus_events_total', @north, result => 'accepted'), 12, 'events');
cmp_ok(counted('nucleus_event_bytes_total', @north), '>', 300_000, 'their bytes');
is(counted('nucleus_problems_total', problem => 'invalid-json'), 2, 'problems by type');
is(counted('nucleus_problems_total', problem => 'rate-limited'), 3, 'limits');
is(counted('nucleus_limited_total', limit => 'key-requests'), 3, 'which one');
is(counted('nucleus_limited_total'), 3, 'and no other');
is(counted('nucleus_auth_failures_total', reason => 'missing-credentials'), 2, 'failures by reason');
is(counted('nucleus_auth_failures_total', reason => 'key-revoked'), 1, 'a revoked key');
is(counted('nucleus_group_records_sum'), 15, 'records in groups');
is(counted('nucleus_durable_seconds_count'), 9, 'each ticket was timed');
cmp_ok(counted('nucleus_durable_seconds_sum'), '>=', counted('nucleus_sync_seconds_sum'), 'no less than the disk took');
is(join("\n", $page->errors), '', 'to the format');

$t->wait_for('the page agrees with what is stored', 20, sub { $t->events == 15 });

# ---- events of a client that goes away are counted all the same

{
    my $client = $t->client;
    $client->send("POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
        . "$key->{bearer}[0]: $key->{bearer}[1]\r\n\r\n{}");
    $client->reset;
}

wait_page('an event whose client is gone', sub {
    my $accepted = $_->value('nucleus_events_total', @north, result => 'accepted') // 0;
    my $requests = ($_->value('nucleus_requests_total', @north, result => 'accepted') // 0)
        + ($_->value('nucleus_requests_total', result => 'aborted') // 0);
    return $accepted == 13 && $requests == 7 || $accepted == 12 && $t->events == 15;
});

# ---- counters never go back

sub counters {
    my ($of) = @_;

    return { map { my $name = $_; map { ("$name $_" => $of->{samples}{$name}{$_}) } keys %{ $of->{samples}{$name} } }
        grep { /_(?:total|count|bucket|sum)$/ } $of->names };
}

sub goes_on {
    my ($name) = @_;

    my $before = counters(page());

    return sub {
        my $now = counters(page());
        my @less = grep { !defined $now->{$_} || $now->{$_} < $before->{$_} } keys %$before;
        is(join(', ', @less), '', $name);
    };
}

my $check = goes_on('counters go on through a reload');
$t->reload;
$t->wait_old;
$check->();
is(page()->value('nucleus_processes'), 2, 'and the old processes are not counted');

$check = goes_on('and when processes are killed');
$t->expect_log(qr/\[alert\] .* exited on signal 9/);
my @killed = $t->nginx_workers;
kill 'KILL', @killed;
$t->wait_for('new processes', 20, sub {
    my %now = map { $_ => 1 } $t->nginx_workers;
    return keys %now == 2 && !grep { $now{$_} } @killed;
});
$t->wait_ready;
wait_page('both new ones are there', sub { $_->value('nucleus_processes') == 2 && $_->value('nucleus_queue_ready', queue => 'small') });
$check->();
is($t->post('/events', '{}', @key)->status, 202, 'an event more');
$check->();

# ---- many

SKIP: {
    my $before = page()->value('nucleus_events_total', result => 'accepted');
    my $client = $t->client;

    for my $tenant (1 .. 1000) {
        $client->send(join '', map {
            "POST /open?tenant=tenant-with-a-long-name-$tenant&stream=stream-$_ HTTP/1.1\r\nHost: localhost\r\n"
                . "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        } 1 .. 10);

        for (1 .. 10) {
            my $r = $client->response;
            fail('an event of many'), last SKIP if !$r || $r->status != 202;

            # nginx ends a connection after a thousand requests
            if (($r->header('Connection') // '') eq 'close') {
                $client->close;
                $client = $t->client;
            }
        }
    }

    $client->close;
    $page = wait_page('ten thousand series', sub { $_->value('nucleus_events_total', result => 'accepted') == $before + 10_000 });
    is($page->value('nucleus_series_overflow_total'), 0, 'there is room for all');
    is($page->value('nucleus_events_total', tenant => 'tenant-with-a-long-name-777', stream => 'stream-3', result => 'accepted'), 1,
        'each on its own');
    is(join("\n", $page->errors), '', 'to the format');

    my $plain = $t->get('/metrics')->body;
    my $r = $t->get('/metrics', headers => [ 'Accept-Encoding' => 'gzip' ]);
    is($r->header('Content-Encoding'), 'gzip', 'compressed');
    diag sprintf '%d bytes, %d compressed', length $plain, length $r->body;
    cmp_ok(length $r->body, '<', 2 << 20, 'in under 2 MB');
    cmp_ok(length $r->body, '>', 10_000, 'which is all of it');

    # a client that does not read holds nobody up
    my $slow = $t->client;
    $slow->send("GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    is($t->post('/events', '{}', @key)->status, 202, 'others are served') for 1 .. 5;
    my $read = Nucleus::Metrics->new($slow->response->body);
    is(join("\n", $read->errors), '', 'and it gets the whole page later');
    is(scalar keys %{ $read->{samples}{nucleus_requests_total} }, scalar keys %{ $page->{samples}{nucleus_requests_total} }, 'with all series');
    $slow->close;

    # one that goes away in the middle of it
    for (1 .. 5) {
        my $gone = $t->client;
        $gone->send("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n");
        $gone->reset;
    }

    is($t->get('/metrics')->status, 200, 'clients that go away harm nothing');
    is(join("\n", page()->errors), '', 'still to the format');
}

# ---- without room

$t->stop('nginx');
$t->write_confs(http => 'nucleus_zone 64k;');
$t->start_nginx or die "nginx does not start\n";
$t->wait_ready;

for my $n (1 .. 300) {
    $t->post("/open?tenant=t$n&stream=s", '{}')->status == 202 or fail('an event of few'), last;
}

$page = wait_page('all are counted', sub { ($_->value('nucleus_events_total', result => 'accepted') // 0) == 300 });
cmp_ok($page->value('nucleus_series_overflow_total'), '>', 100, 'those that have no room');
is($page->value('nucleus_events_total', tenant => '_other', result => 'accepted'), $page->value('nucleus_series_overflow_total'),
    'together');
is(join("\n", $page->errors), '', 'to the format');

$t->finish;

done_testing;
