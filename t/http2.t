#!/usr/bin/perl

# HTTP/2, by curl and by frames of our own: many streams at once, windows, streams and connections
# that end at any time.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Nucleus::Fault;
use Nucleus::Http2;
use Nucleus::Metrics;
use Nucleus::Test;

my $t = Nucleus::Test->new(
    queue_options => 'min_free=1m segment=4m timeout=20s',
    locations     => 'location = /up { return 204; }',
);
my $dir = $t->dir;
my ($http, $plain, $tls) = ($t->port, $t->port2, $t->free_port);

# since 1.25.1 it is a directive, and a plain port speaks both versions
my ($listen, $http2) = Nucleus::Test::nginx_has('version: nginx/1\.2[234]\.') ? (' http2', '') : ('', 'http2 on;');

$t->write_confs(http => <<"END");
    nucleus_max_inflight 16m;
    limit_req_zone \$uri zone=req:1m rate=1r/m;

    server {
        listen 127.0.0.1:$plain$listen;
        listen 127.0.0.1:$tls ssl$listen;
        $http2
        ssl_certificate     $dir/cert.pem;
        ssl_certificate_key $dir/key.pem;
        nucleus_auth        off;
        client_body_timeout 60s;
        keepalive_requests  120;

        location = /events { nucleus auto; }
        location = /health { nucleus_health ready; }
        location = /metrics { nucleus_status; }
        location = /small  { nucleus auto; client_max_body_size 1k; }
        location = /short  { nucleus auto; client_body_timeout 1s; }
        location = /req    { nucleus auto; limit_req zone=req; limit_req_status 429; }
        location = /copied { mirror /copy; proxy_pass http://127.0.0.1:$http/up; }
        location = /copy   { internal; nucleus auto; }
    }
END

$t->make_certificate;

my $fault = Nucleus::Fault->new($t);
$t->start_nginx(env => $fault->env) or die "nginx does not start\n";
$t->start_worker or die "nucleus-worker does not start\n";

my ($nginx) = $t->nginx_workers;
my $number = 0;
my (%acked, %maybe);

# An event that must be stored, or with a second argument one that may be.
sub event {
    my ($size, $maybe) = @_;

    my $id = 'h2-' . ++$number;
    ($maybe ? \%maybe : \%acked)->{$id} = 1;

    return sprintf '{"id":"%s","x":"%s"}', $id, 'x' x $size;
}

sub connection { return Nucleus::Http2->new(port => $plain, @_) }

sub is_status {
    my ($s, $status, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $got = $s ? $s->{status} // "reset $s->{reset}" : 'no answer';
    is($got, $status, $name);
}

sub is_taken {
    my ($s, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is_status($s, 202, $name);
    like($s->{body}, qr/^\{"accepted":\d+,"ids":\[".*"\]\}\r\n\z/, "$name: a receipt") if $s;
}

sub is_refused {
    my ($s, $status, $type, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is_status($s, $status, $name);
    like($s->{body}, qr/^\{"type":"urn:nucleus:problem:$type",.*\}\r\n\z/s, "$name: its problem") if $s;
}

# ---- a page of metrics in a small window waits, and goes on; others are served meanwhile, and it may be given up

{
    my $c = connection(window => 1000);
    my @ids = map { $c->start('/metrics', method => 'GET', end => 1) } 1 .. 3;

    $c->wait(sub { 3 == grep { length $c->stream($_)->{body} == 1000 } @ids });
    is(join(' ', map { length $c->stream($_)->{body} } @ids), '1000 1000 1000', 'metrics: three pages wait');
    is_taken($c->answer($c->open('/events', event(10))), 'metrics: an event beside them');

    $c->reset($ids[1]);
    $c->allow($_, 1 << 20) for @ids[ 0, 2 ];

    for my $id (@ids[ 0, 2 ]) {
        $c->wait(sub { $c->over($id) });
        is(join("\n", Nucleus::Metrics->new($c->stream($id)->{body})->errors), '', 'metrics: the whole page');
    }

    # the connection goes, and with it what waits
    $c->start('/metrics', method => 'GET', end => 1) for 1 .. 3;
    $c->abort;
}

# ---- curl: over TLS by ALPN, and in clear

for my $base ("https://127.0.0.1:$tls", "http://127.0.0.1:$plain") {
    my ($scheme) = $base =~ /^(\w+)/;
    my @how = $scheme eq 'https' ? ('--http2', '--cacert', "$dir/cert.pem") : '--http2-prior-knowledge';
    my $curl = sub {
        my (@args) = @_;
        my ($status, $out) = $t->run([ qw(curl -s -S -m 30 -i -H), 'Content-Type: application/json', @how, @args ]);
        my ($head, $body) = split /\r\n\r\n/, $out, 2;
        $head =~ s{^HTTP/2 (\d{3}) }{HTTP/1.1 $1 OK};
        my $r = Nucleus::Response->new($head);
        $r->{body} = $body // $out;
        return $r;
    };

    is($curl->("$base/health")->status, 200, "$scheme: ready");
    is(join("\n", Nucleus::Metrics->new($curl->("$base/metrics")->body)->errors), '', "$scheme: metrics");
    $t->is_receipt($curl->('-d', event(10), "$base/events"), 1, "$scheme: an event");

    my $json = '[' . join(",\n", map { event(900_000) } 1 .. 7) . ']';
    my $file = '@' . $t->write_file('body.json', $json);
    $t->is_receipt($curl->('--data-binary', $file, "$base/events"), 7, "$scheme: 6 MB");

    $t->write_file('body.json', event(400_000));
    $t->is_receipt($curl->('--data-binary', $file, '-H', 'Content-Length:', "$base/events"), 1,
        "$scheme: a body of a length that is not said");

    my $r = $curl->('-d', '{"a":01}', "$base/events");
    $t->is_problem($r, 400, 'invalid-json', { pointer => '/a', offset => 6 }, "$scheme: a problem");
    $t->is_problem($curl->("$base/events"), 405, 'method-not-allowed', {}, "$scheme: 405");
}

# ---- many streams at once, in small pieces that take turns

{
    my $h = connection();
    my @body = map { event($_ * 37) } 1 .. 100;
    my @id = map { $h->start('/events') } @body;

    for (my $at = 0; grep { length $_ > $at } @body; $at += 500) {
        for my $i (0 .. $#body) {
            next if length $body[$i] <= $at;
            my $piece = substr($body[$i], $at, 500);
            $h->send_data($id[$i], $piece, end => length $body[$i] <= $at + 500, pad => $i % 3);
        }

        $h->wait(sub { $h->{window}{0} > 60_000 });
    }

    my @taken = grep { my $s = $h->answer($_); $s && $s->{status} == 202 } @id;
    is(scalar @taken, 100, '100 streams at once');

    # after keepalive_requests no new stream may come, and all that were begun are ended
    @id = map { $h->open('/events', event(10)) } 1 .. 20;
    @taken = grep { my $s = $h->answer($_); $s && $s->{status} == 202 } @id;
    is(scalar @taken, 20, 'those up to keepalive_requests');
    ok($h->wait(sub { $h->gone }), 'then GOAWAY');
    is($h->gone->{code}, 0, 'without an error') if $h->gone;
    $h->close;
}

# ---- what ends a body

{
    my $h = connection();
    my $body = event(10);

    my $id = $h->start('/events');
    $h->send_data($id, $body);
    $h->send_data($id, '', end => 1);
    is_taken($h->answer($id), 'an empty frame ends the body');

    $id = $h->start('/events', headers => [ 'content-length' => length($body = event(30_000)) ]);
    $h->send_data($id, substr($body, 0, 10_000), pad => 255);
    $h->send_data($id, '', pad => 1) for 1 .. 10;
    $h->send_data($id, substr($body, 10_000, 10_000));
    $h->send_data($id, substr($body, 20_000), end => 1, pad => 7);
    is_taken($h->answer($id), 'padded and empty frames in it');

    $id = $h->start('/events', end => 1);
    is_refused($h->answer($id), 400, 'empty-body', 'no body at all');

    $id = $h->start('/events', headers => [ 'content-length' => 100 ]);
    $h->send_data($id, '{"id":"never"}', end => 1);
    is_status($h->answer($id), 400, 'a body shorter than said');

    $id = $h->start('/events', headers => [ 'content-length' => 100 ], end => 1);
    is_status($h->answer($id), 400, 'none, where one is said');

    $id = $h->start('/events', headers => [ 'content-length' => 14 ]);
    $h->send_data($id, '{"id":"never"} {"id":"never"}', end => 1);
    is_status($h->answer($id), 400, 'a body longer than said');

    $id = $h->open('/events', '{"a":1,}');
    is_refused($h->answer($id), 400, 'invalid-json', 'invalid JSON');
    is_taken($h->answer($h->open('/events', event(10))), 'the connection goes on after all of these');

    # nginx knows no trailers in requests, and ends the connection
    $id = $h->start('/events');
    $h->send_data($id, '{"id":"never"}');
    $h->trailers($id, 'x-checksum' => '1');
    ok($h->wait(sub { $h->gone || $h->over($id) }), 'trailers are not left without an answer');
    is($h->gone->{code}, 1, 'a protocol error') if $h->gone;
    $h->close;
}

# ---- refused: others on the connection don't notice, even where the body goes on coming

{
    my $h = connection();
    my $other = $h->start('/events');
    my $body = event(40_000);
    $h->send_data($other, substr($body, 0, 5000));

    my $id = $h->start('/small');
    $h->send_data($id, 'x' x 10_000);
    is_refused($h->answer($id), 413, 'body-too-large', 'over client_max_body_size, of no length');

    $id = $h->start('/small', headers => [ 'content-length' => 20_000 ]);
    is_refused($h->answer($id), 413, 'body-too-large', 'over client_max_body_size, by its length');
    $h->send_data($id, 'x' x 10_000);
    $h->send_data($id, 'x' x 10_000, end => 1);

    $id = $h->start('/events', headers => [ 'content-length' => 1 << 40 ]);
    is_refused($h->answer($id), 413, 'body-too-large', 'over what memory may hold');

    is_taken($h->answer($h->open('/req', event(10))), 'limit_req: the first');
    is_refused($h->answer($h->open('/req', '{"id":"never"}')), 429, 'too-many-requests', 'limit_req: the second');
    is_refused($h->answer($h->open('/events', '{}', type => 'text/plain')), 415, 'unsupported-media-type', 'a type');
    is_refused($h->answer($h->open('/events', '{}', method => 'PUT')), 405, 'method-not-allowed', 'a method');
    is($h->answer($h->open('/copied', event(50_000)))->{status}, 204, 'mirrored');

    $h->send_data($other, substr($body, 5000, 10_000));
    $h->send_body($other, substr($body, 15_000));
    is_taken($h->answer($other), 'the stream that was there before');
    $h->close;
}

# ---- a full disk: refused, and taken again; a connection lives through it

{
    my $h = connection();
    my $body = event(40_000, 'maybe');
    my $other = $h->start('/events');
    $h->send_data($other, substr($body, 0, 5000));

    my $s;
    my $post = sub {
        my ($status, $type) = @_;
        my $c = connection();
        $s = $c->answer($c->open('/events', event(10, 'maybe')));
        $c->close;
        return $s && $s->{status} == $status && $s->{body} =~ $type;
    };

    # what was being written when it filled up may be in doubt
    $fault->set('space-none');
    $t->wait_for('the full disk is noticed', 30, sub { $post->(503, qr/queue-full/) });
    is_refused($s, 503, 'queue-full', 'a full disk');

    $fault->clear;
    $t->wait_for('there is room again', 30, sub { $post->(202, qr/accepted/) });
    is_taken($s, 'taken again');

    $h->send_body($other, substr($body, 5000));
    my $late = $h->answer($other);
    ok($late && $late->{status} =~ /^(?:202|503)$/, 'a body that was on its way all the time');
    is_taken($h->answer($h->open('/events', event(10))), 'the connection goes on');
    $h->close;
}

# ---- a client that stops in the middle of a body

{
    my $h = connection();
    my $id = $h->start('/short');
    $h->send_data($id, '{"id":"never"');
    is_taken($h->answer($h->open('/events', event(10))), 'others go on beside it');
    my $s = $h->answer($id);
    ok($s && defined $s->{reset}, 'a body that does not come: the stream is reset');
    $t->wait_for('the access log says 408', 10, sub { $t->read_file('access.log') =~ m{"POST /short HTTP/2\.0" 408 } });
    is_taken($h->answer($h->open('/events', event(10))), 'and after it');
    $h->close;
}

# ---- windows: nginx asks for no more than it takes, and waits for ours

{
    my $h = connection();
    my $id = $h->start('/events');
    my $body = event(800_000);
    ok($h->wait(sub { $h->{window}{$id} <= 65_536 }), 'a stream begins with a window of 64k');
    $h->send_body($id, $body);
    is_taken($h->answer($id), '800,000 bytes, as the windows open');

    $id = $h->start('/events');
    $h->send_data($id, 'x' x ($h->{window}{$id} + 1));
    my $s = $h->answer($id);
    is($s ? $s->{reset} : 'none', 3, 'more than the window: FLOW_CONTROL_ERROR');
    is_taken($h->answer($h->open('/events', event(10))), 'for that stream alone');
    $h->close;
}

{
    # the receipt has to wait
    my $h = connection(window => 0);
    my $id = $h->open('/events', '[' . join(',', map { event(10) } 1 .. 200) . ']');
    $h->wait(sub { $h->stream($id)->{status} });
    my $other = $h->open('/events', event(10));
    $h->wait(sub { $h->stream($other)->{status} });
    is($h->stream($id)->{body} . $h->stream($other)->{body}, '', 'no window: no byte of a receipt');
    $h->allow($other, 1000);
    is_taken($h->answer($other), 'the later one may come first');
    $h->allow($id, 100);
    $h->wait(sub { length $h->stream($id)->{body} == 100 });
    ok(!$h->over($id), 'the first 100 bytes of the other');
    $h->allow($id, 1 << 20);
    is_taken($h->answer($id), 'and the rest');

    # and some are never read
    $h->open('/events', event(10, 'maybe')) for 1 .. 20;
    $h->reset($h->open('/events', event(10, 'maybe')));
    $h->abort;
}

# ---- streams that are reset, connections that end: in the middle of a body

my $good = sub {
    my ($name) = @_;
    my $h = connection();
    is_taken($h->answer($h->open('/events', event(10))), $name);
    $h->close;
};

$good->('before');
my $files = sub { my @files = Nucleus::Test::open_files($nginx); return scalar @files };
my $before = $files->();

for my $end (qw(reset close abort goaway)) {
    for my $round (1 .. 3) {
        my $h = connection();
        my @id = map { $h->start('/events') } 1 .. 50;

        # together about 3 MB, so that memory that is not given back is missed soon
        for my $id (@id) {
            $h->wait(sub { $h->{window}{0} > 60_000 });
            $h->send_data($id, '{"id":"never","x":"' . 'x' x 15_000) for 1 .. 4;
        }

        if ($end eq 'reset') {
            $h->reset($_, 8) for @id;
            is_taken($h->answer($h->open('/events', event(10))), 'the connection goes on') if $round == 1;
            $h->close;
        }
        elsif ($end eq 'goaway') {
            my $id = $h->start('/events');
            $h->goaway;
            $h->send_body($id, event(10_000, 'maybe'));
            my $s = $h->answer($id, 10);
            ok(!$s || !$s->{status} || $s->{status} == 202, 'a client that says it goes') if $round == 1;
            $h->close;
        }
        else {
            $h->$end;
        }
    }

    $good->("after streams in the middle of bodies, and $end");
}

# ---- and while the disk is asked

for my $end (qw(reset close abort goaway)) {
    my $h = connection();
    $h->answer($h->open('/events', event(10)));

    my $hits = $fault->hits;
    $fault->set('sync-stall');
    my @id = map { $h->open('/events', event($_ % 2 ? 10 : 20_000, 'maybe')) } 1 .. 20;
    my $kept = $h->open('/events', event(10, $end =~ /close|abort/));
    my $large = $h->open('/events', event(300_000, 'maybe'));
    $t->wait_for('the sync has begun', 20, sub { $fault->hits > $hits });

    if ($end eq 'reset') {
        $h->reset($_, 8) for @id, $large;
        $fault->clear;
        is_taken($h->answer($kept), 'a stream beside those that were reset');
        is_taken($h->answer($h->open('/events', event(10))), 'and a later one');
        is(scalar(grep { $h->stream($_)->{status} } @id), 0, 'those that were reset are not answered');
        $h->close;
    }
    elsif ($end eq 'goaway') {
        $h->goaway;
        $fault->clear;
        is_taken($h->answer($_), 'answered after GOAWAY') for $kept, $large, $id[0];
        $h->close;
    }
    else {
        $h->$end;
        $fault->clear;
    }

    $good->("after streams that waited, and $end");
}

$t->wait_for('as many open files as before', 20, sub { $files->() <= $before }) && pass('no descriptor is left');

{
    # more than half of what may be in flight: what the dead held was given back
    my $h = connection();
    is_taken($h->answer($h->open('/events', '[' . join(',', map { event(900_000) } 1 .. 7) . ']')), '6 MB at once');
    $h->close;
}

# ---- a reload: nginx says GOAWAY, and ends what it has begun

{
    my $h = connection();
    my $half = $h->start('/events');
    my $body = event(30_000);
    $h->send_data($half, substr($body, 0, 10_000));

    $fault->set('sync-stall');
    my $hits = $fault->hits;
    my $waits = $h->open('/events', event(10));
    $t->wait_for('the sync has begun', 20, sub { $fault->hits > $hits });
    $t->reload(wait => 0);
    $h->send_body($half, substr($body, 10_000));
    $fault->clear;
    is_taken($h->answer($waits), 'a stream that waits is answered during a reload');
    is_taken($h->answer($half), 'and one that is half there');
    ok($h->wait(sub { $h->closed || $h->gone }), 'then its connection ends');
    $h->close;
    $t->wait_for('the old process ends', 30, sub { !grep { $_ == $nginx } $t->children('nginx') });
}

$good->('after the reload');

# ---- nothing is left, and nothing is stored that should not be

my @events = $t->wait_events(sub { my %seen = map { $_->{id} => 1 } @_; !grep { !$seen{$_} } keys %acked });
my %count;
$count{ $_->{id} }++ for @events;
is(join(' ', grep { $count{$_} != 1 } sort keys %count), '', 'each once');
is(join(' ', grep { !$acked{$_} && !$maybe{$_} } sort keys %count), '', 'and no other');
is(scalar(grep { Nucleus::Store::sha256($_) ne $_->{data_sha256} } @events), 0, 'unchanged');

$t->finish;
done_testing;
