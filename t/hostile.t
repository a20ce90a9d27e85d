#!/usr/bin/perl

# Clients that mean harm, or whose software does: bodies that lie about their length, requests within
# requests, odd headers, methods and versions, names that look like paths, nesting, numbers of
# events, slowness.  Whatever they say, what is stored is what was acknowledged.
#
#     NUCLEUS_SIEGE=full    10,000 streams and 1,000,000 events in a body (else 150 and 20,000)

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use File::Find ();
use Test::More;
use Time::HiRes qw(time sleep);

use Nucleus::Http2;
use Nucleus::Process;
use Nucleus::Test;

my $full = ($ENV{NUCLEUS_SIEGE} // '') eq 'full';
my $streams = $full ? 10_000 : 150;
my $many = $full ? 1_000_000 : 20_000;

my $t = Nucleus::Test->new(
    http      => 'nucleus_max_inflight 16m; large_client_header_buffers 4 8k;',
    server    => <<'END',
        listen 127.0.0.1:%%PORT2%% http2;
        client_header_timeout 1s; client_body_timeout 1s; send_timeout 1s; lingering_timeout 1s;
END
    locations => <<'END',
        location = /stream { nucleus auto; nucleus_stream $arg_s; }
        location = /tenant { nucleus auto; nucleus_tenant $arg_s; }
        location = /header { nucleus auto; nucleus_stream $http_x_stream; nucleus_tenant $cookie_tenant; }
        location = /many   { nucleus auto; nucleus_max_events 1000000; }
        location = /deep   { nucleus auto; nucleus_max_event_depth 512; }
        location = /any    { nucleus auto; client_max_body_size 0; nucleus_max_event_size 1000m; }
        location = /patient { nucleus auto; client_body_timeout 60s; }
END
);

$t->start;

my ($nginx) = $t->nginx_workers;
my @json = ('Content-Type' => 'application/json');
my $number = 0;
my %acked;

# An event that must be stored exactly if it is acknowledged.
sub event {
    my ($what, $more) = @_;

    return sprintf '{"id":"%s-%d"%s}', $what, ++$number, $more // '';
}

sub id_of { return $_[0] =~ /"id":"([^"]+)"/ ? $1 : die "no id in $_[0]\n" }

# A whole request with such an event, that nobody may take for one where it lies in another's body.
sub request {
    my ($what, @headers) = @_;

    return Nucleus::Client::text('POST', '/events', [ @json, @headers ], event($what));
}

# All answers that come on a connection until it is closed, or nothing more comes.
sub answers {
    my ($c, $seconds) = @_;

    my @r;

    while (my $r = $c->response(timeout => @r ? 0.3 : $seconds // 10)) {
        push @r, $r;
        last if ($r->header('Connection') // '') eq 'close';
    }

    return @r;
}

# Send these bytes, and a good request behind them.  The answers must be of one of the kinds given, a
# regular expression over the statuses, such as "400" or "400 202".
sub speaks {
    my ($name, $bytes, $want) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $after = request('after', Connection => 'close');
    my $c = $t->client;
    $c->send($bytes . $after);
    my @r = answers($c);
    $c->close;

    my $got = join ' ', map { $_->status } @r;
    like($got, qr/^(?:$want)$/, $name) or diag(map { $_->text . "\n" } @r);

    # each receipt is for the requests in their order: the last is the one behind
    $acked{ id_of($after) } = 1 if @r > 1 && $r[-1]->status == 202;

    return @r;
}

sub head {
    my (@lines) = @_;

    return join "\r\n", 'POST /events HTTP/1.1', 'Host: localhost', 'Content-Type: application/json', @lines, '', '';
}

sub still_well {
    my ($name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $event = event('well');
    $t->is_receipt($t->post('/events', $event), 1, $name) and $acked{ id_of($event) } = 1;
}

# ---- lengths that are none

for my $length ('-1', '+5', '5 5', '5,5', '0x5', '5;', '1e3', ' ', '99999999999999999999', '18446744073709551617',
    '9223372036854775808', "5\t", "\x0b5")
{
    speaks("Content-Length \"$length\"", head("Content-Length: $length") . request('smuggled'), '4\d\d');
}

speaks('Content-Length 0', head('Content-Length: 0'), '400 202');
speaks('leading zeros', head('Content-Length: 00000000000000000002') . '{}', '202 202');
speaks('Content-Length over all limits', head('Content-Length: 9223372036854775807') . request('smuggled'), '413');
speaks('Content-Length twice, the same', head('Content-Length: 2', 'Content-Length: 2') . '{}', '400');
speaks('Content-Length twice', head('Content-Length: 2', 'Content-Length: 500') . '{}' . request('smuggled'), '400');
speaks('no length at all', head() , '400 202');

{
    # longer than what comes
    my $c = $t->client;
    $c->send(head('Content-Length: 1000') . event('short'));
    $c->half_close;
    my @r = answers($c);
    is(join(' ', map { $_->status } @r), '', 'a body that ends early: no answer');
    $c->close;

    $c = $t->client;
    $c->send(head('Transfer-Encoding: chunked') . "40\r\n" . event('short'));
    $c->half_close;
    is(scalar answers($c), 0, 'a chunk that ends early: no answer');
    $c->close;

    $c = $t->client;
    $c->send(head('Transfer-Encoding: chunked') . Nucleus::Client::chunked(event('short'), 7) =~ s/0\r\n\r\n\z//r);
    $c->half_close;
    is(scalar answers($c), 0, 'chunks without the last: no answer');
    $c->close;
}

# ---- a request within a request: Content-Length against Transfer-Encoding, RFC 9112, section 11.2

my @te = (
    'Transfer-Encoding: chunked',          'Transfer-Encoding: xchunked',
    'Transfer-Encoding : chunked',         ' Transfer-Encoding: chunked',
    "Transfer-Encoding:\tchunked",         'Transfer-Encoding: identity',
    'Transfer-Encoding: chunked, identity', 'Transfer-Encoding: identity, chunked',
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: x", "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding:\r\n chunked",      "X: y\nTransfer-Encoding: chunked",
    'Transfer-Encoding: "chunked"',        "Transfer-Encoding: \x0bchunked",
    "Transfer\x00-Encoding: chunked",      'transfer-encoding: CHUNKED',
    "Transfer-Encoding: chunked\x00",      "Transfer-Encoding\r: chunked",
);

for my $te (@te) {
    (my $name = $te) =~ s/([^ -~])/sprintf '\\x%02x', ord $1/ge;
    my $inner = request('smuggled');
    my $body = "0\r\n\r\n$inner";

    # who believes the one sees another request in the body of who believes the other
    speaks("CL.TE, $name", head('Content-Length: ' . length $body, $te) . $body, '(?:400|501)');

    my $chunk = sprintf("%x\r\n", length $inner) . "$inner\r\n0\r\n\r\n";
    speaks("TE.CL, $name", head($te, 'Content-Length: 4') . $chunk, '(?:400|501)');
}

for my $te ('Transfer_Encoding: chunked', 'X-Transfer-Encoding: chunked', "X: \x01\x02 chunked") {
    (my $name = $te) =~ s/([^ -~])/sprintf '\\x%02x', ord $1/ge;
    my $body = "0\r\n\r\n" . request('smuggled');

    # not the header that it looks like: the length says where the body ends, and is right
    speaks("CL.TE, $name", head('Content-Length: ' . length $body, $te) . $body, '400(?: 202)?');
}

# ---- chunks

sub chunks { return head('Transfer-Encoding: chunked') . join '', @_ }

for my $size ('ffffffffffffffff', '10000000000000005', '8000000000000000', '7fffffffffffffff', '-5', '+5', '0x5', ' 5',
    '', 'g', "\x005", '100000000', '7ffffffffffffff0')
{
    speaks("chunk of size \"" . ($size =~ s/[^ -~]/?/gr) . '"',
        chunks("$size\r\n", request('smuggled'), "\r\n0\r\n\r\n"), '400|413');
}

{
    my $event = event('chunk');
    my $size = sprintf '%x', length $event;
    $acked{ id_of($event) } = 1;

    speaks('extensions', chunks("$size;a=b;c=\"d\"\r\n$event\r\n0;x\r\n\r\n"), '202 202');

    $event = event('chunk');
    $acked{ id_of($event) } = 1;
    speaks('an extension of 100 KB', chunks("$size;a=" . 'b' x 100_000 . "\r\n$event\r\n0\r\n\r\n"), '202 202');

    $event = event('chunk');
    $acked{ id_of($event) } = 1;
    speaks('trailers', chunks("$size\r\n$event\r\n0\r\nContent-Length: 100\r\nX-Stream: evil\r\n\r\n"), '202 202');

    $event = event('chunk');
    $acked{ id_of($event) } = 1;
    speaks('a size with 4000 zeros', chunks('0' x 4000 . "$size\r\n$event\r\n0\r\n\r\n"), '202 202');

    speaks('a chunk longer than its size', chunks("5\r\n{\"a\":1}\r\n0\r\n\r\n"), '400');
    speaks('a chunk shorter than its size', chunks("9\r\n{\"a\":1}\r\n0\r\n\r\n"), '400');
    speaks('no line end behind a chunk', chunks('2', "\r\n{}0\r\n\r\n"), '400');
    speaks('CR alone', chunks("2\r{}\r0\r\r"), '400');
}

# nginx takes a bare LF for a line's end: both sides of it must mean the same
{
    my $event = event('lf');
    my $size = sprintf '%x', length $event;
    $acked{ id_of($event) } = 1;
    my @r = speaks('chunks with bare LF', chunks("$size\n$event\n0\n\n"), '202 202|400');
    delete $acked{ id_of($event) } if $r[0]->status == 400;

    $event = event('lf');
    $acked{ id_of($event) } = 1;
    my $text = head('Content-Length: ' . length $event) =~ s/\r\n/\n/gr;
    speaks('a head with bare LF', $text . $event, '202 202');

    my $inner = request('smuggled');
    speaks('an extension with a bare LF',
        chunks(sprintf("2;\n{}\r\n%x\r\n%s\r\n0\r\n\r\n", length $inner, $inner)), '400(?: 202)?');
}

# ---- heads

speaks('1 MB of headers', head(map { "X-$_: " . 'x' x 1000 } 1 .. 1000), '400');
speaks('one header of 1 MB', head('X: ' . 'x' x 1_000_000), '400');
speaks('a URI of 100 KB', 'POST /events?' . 'x' x 100_000 . " HTTP/1.1\r\n\r\n", '414');
speaks('100 headers', head((map { "X-$_: y" } 1 .. 100), 'Content-Length: 2') . '{}', '202 202');
speaks('zero in a header', head("X: a\x00b", 'Content-Length: 2') . '{}', '400');
speaks('no Host', "POST /events HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", '400');
speaks('two Hosts', head('Host: other', 'Content-Length: 2') . '{}', '400');
speaks('a Host with a path', "POST /events HTTP/1.1\r\nHost: ../../etc\r\nContent-Length: 2\r\n\r\n{}", '400');
speaks('absolute form', 'POST http://localhost/events HTTP/1.1' . substr(head('Content-Length: 2'), 21) . '{}', '202 202');
speaks('two Content-Types', head('Content-Type: text/plain', 'Content-Length: 2') . '{}', '202 202|415 202|400');
speaks('Content-Type folded', "POST /events HTTP/1.1\r\nHost: a\r\nContent-Type:\r\n application/json\r\n"
        . "Content-Length: 2\r\n\r\n{}", '4\d\d(?: 202)?');

for my $type ('application/json' . ';x' x 3000, 'application/json;' . ' ' x 5000, 'application/json; charset=' . '"' x 500,
    "application/json; charset=\"utf-8", 'application/json;charset=utf-8;charset=utf-16', "application/json;\x80")
{
    my $r = $t->post('/events', '{}', type => $type);
    like($r->status, qr/^(?:202|415)$/, 'type of ' . length($type) . ' bytes: ' . $r->status);
}

for my $encoding ('gzip', 'x-gzip', 'br', 'zstd', 'identity;q=1', 'gzip' . ', gzip' x 100, '') {
    my $r = $t->post('/events', "\x1f\x8b\x08\0", headers => [ 'Content-Encoding' => $encoding ]);
    $t->is_problem($r, 415, 'unsupported-encoding', {}, 'encoding "' . substr($encoding, 0, 20) . '"');
}

# ---- methods and versions

speaks("\"$_\"", "$_ /events HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", '40[05](?: 202)?')
    for qw(GET PUT DELETE PATCH TRACE OPTIONS PROPFIND post PoST XPOST P );
speaks('CONNECT', "CONNECT localhost:80 HTTP/1.1\r\nHost: a\r\n\r\n", '40[05]');
speaks('a GET that says it is a POST', "GET /events HTTP/1.1\r\nHost: a\r\nX-HTTP-Method-Override: POST\r\n"
        . "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", '405 202');
speaks('version 2.0', "POST /events HTTP/2.0\r\nHost: a\r\n\r\n", '505');
speaks('version 1.10', head('Content-Length: 2') =~ s{HTTP/1\.1}{HTTP/1.10}r . '{}', '400|505|202 202');
speaks('an HTTP/2 preface where it is not', "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", '400|505');
speaks('TLS', "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" . 'x' x 500, '400');

{
    my $c = $t->client;
    $c->send("GET /events\r\n");
    $c->closed(10);
    like($c->rest, qr/405|"status":405/, 'HTTP/0.9');
    $c->close;

    my $event = event('one-oh');
    $acked{ id_of($event) } = 1;
    $c = $t->client;
    $c->send("POST /events\r\n\r\n" . request('smuggled'));
    ok($c->closed(10) || $c->rest =~ /<title>400 /, 'HTTP/0.9 has no POST');
    $c->close;

    $c = $t->client;
    $c->send(head('Content-Length: ' . length $event) =~ s{HTTP/1\.1}{HTTP/1.0}r . $event . request('smuggled'));
    my @r = answers($c);
    is(join(' ', map { $_->status } @r), '202', 'HTTP/1.0: one request, then the connection ends');
    $c->close;

    speaks('HTTP/1.0 in chunks', chunks("2\r\n{}\r\n0\r\n\r\n") =~ s{HTTP/1\.1}{HTTP/1.0}r, '400');

    # RFC 9110, section 10.1.1
    $c = $t->client;
    $event = event('expect');
    $acked{ id_of($event) } = 1;
    $c->send(head('Expect: 100-continue', 'Content-Length: ' . length $event));
    my $r = $c->response(interim => 1);
    is($r && $r->status, 100, '100 Continue');
    $c->send($event);
    $t->is_receipt($c->response, 1, 'and then the receipt');
    $c->close;

    $event = event('expect');
    $acked{ id_of($event) } = 1;
    speaks('100-continue that does not wait',
        head('Expect: 100-continue', 'Content-Length: ' . length $event) . $event, '202 202');
    speaks('Expect of something else', head('Expect: the unexpected', 'Content-Length: 2') . '{}', '202 202|417.*');
}

# ---- depth, number, length

for my $case (
    [ '[' x 500_000, 'too-deep|invalid-json|not-an-object' ],
    [ '{"a":' x 100_000, 'too-deep' ],
    [ '{"a":' . '[' x 900_000 . '}', 'too-deep' ],
    [ '[' . '[],' x 300_000, 'not-an-object' ],
    )
{
    my ($body, $type) = @$case;

    for my $uri (qw(/events /deep)) {
        my $r = $t->post($uri, $body);
        is($r->status, 400, "$uri: " . substr($body, 0, 10) . '...');
        like($r->json->{type} // '', qr/:(?:$type)$/, 'says why');
        cmp_ok(length $r->body, '<', 2000, 'in a short answer');
    }
}

$t->is_receipt($t->post('/deep', '{"a":' x 512 . '1' . '}' x 512), 1, 'as deep as may be at all');

{
    my $r = $t->post('/events', "{}\n" x $many, type => 'application/x-ndjson');
    $t->is_problem($r, 413, 'too-many-events', { event => 1000 }, "$many lines");
    $r = $t->post('/events', '[' . join(',', ('{}') x $many) . ']');
    $t->is_problem($r, 413, 'too-many-events', { event => 1000 }, "an array of $many");
    $r = $t->post('/events', "\n" x 1_000_000, type => 'application/x-ndjson');
    $t->is_problem($r, 400, 'empty-body', {}, 'a million empty lines');

    # where that many are allowed, their records are still not more than the budget
    my $start = time;
    $r = $t->post('/many', "{}\n" x $many, type => 'application/x-ndjson');
    note(sprintf '%d events in a body: %d after %.2f s', $many, $r->status, time - $start);
    $full ? $t->is_problem($r, 413, 'body-too-large', {}, "$many records: too much")
          : $t->is_receipt($r, $many, "$many events in a body");
}

# an id may be as long as its event
for my $length (255, 65_535, 65_536, 400_000) {
    my $event = event('long-' . 'x' x $length);
    my $r = $t->post('/events', $event);
    $t->is_receipt($r, 1, "an id of more than $length bytes");
    $acked{ id_of($event) } = 1;
}

still_well('after bodies of all kinds');

# ---- names that reach a path

my $bad = qr/^invalid-(?:stream|tenant)$/;

for my $name ('../x', '..', '.', '/etc/passwd', '%2e%2e%2fx', '%2e%2e', '..%2f..%2fx', 'a%00b', 'a/../../b', "\xc3\xa9",
    '%c0%ae%c0%ae', '%ef%bc%8e', 'a' x 65, 'a' x 5000, 'A', '-a', '_invalid', '.a', 'a b', 'a+b', 'a%0ab', 'a\\b', 'CON:',
    '~root', '$HOME', '`id`', '*', '{x}', 'stream=x')
{
    my $shown = substr($name, 0, 30);

    for my $uri (qw(stream tenant)) {
        my $r = $t->request('POST', "/$uri?s=" . ($name =~ s/ /%20/gr), [@json], '{"id":"never-named"}');
        is($r->status, 400, "$uri \"$shown\"");
    }

    next if $name =~ /%/;
    my $r = $t->request('POST', '/header', [ @json, 'X-Stream' => $name, Cookie => 'tenant=a' ], '{"id":"never-named"}');
    is($r->status, 400, "stream in a header \"$shown\"");
    $r = $t->request('POST', '/header', [ @json, 'X-Stream' => 'a', Cookie => "tenant=$name" ], '{"id":"never-named"}');
    is($r->status, 400, "tenant in a cookie \"$shown\"");
}

# ---- slowness

{
    my $c = $t->client;
    $c->send("POST /events HTTP/1.1\r\nHost: a\r\nX: ");
    ok($c->closed(20) || $c->rest =~ /^HTTP\/1.1 408/, 'a head that does not go on');
    $c->close;

    # a header now and then is no way to stay
    $c = $t->client;
    my $end = time + 20;
    $c->send("POST /events HTTP/1.1\r\n");
    $c->send("X: y\r\n") while time < $end && !$c->closed(0.2) && !length $c->rest;
    cmp_ok(time, '<', $end, 'a head that goes on for ever');
    $c->close;

    $c = $t->client;
    my $event = event('drip');
    $c->send(head('Content-Length: ' . length $event) . substr($event, 0, 5));
    ok($c->closed(20) || $c->rest =~ /^HTTP\/1.1 408/, 'a body that does not go on');
    $c->close;

    # many that don't read their long receipts hold their share of memory, and no more
    my $body = "{}\n" x 20_000;
    my @slow = map { $t->client(rcvbuf => 4096) } 1 .. 12;
    my $lines = $t->read_file('access.log') =~ tr/\n//;
    $_->send(Nucleus::Client::text('POST', '/many', [ 'Content-Type' => 'application/x-ndjson' ], $body)) for @slow;
    $t->wait_for('slow readers are dropped', 30, sub { ($t->read_file('access.log') =~ tr/\n//) >= $lines + 12 });
    $t->wait_for('and hold no memory', 20, sub { $t->post('/any', '{"x":"' . 'x' x 8_000_000 . '"}')->status == 202 });
    $_->close for @slow;

    still_well('after slow clients');
}

# ---- HTTP/2: streams that are opened and reset at once, and more than may be

{
    my $files = Nucleus::Process::descriptors($nginx);

    for my $round (1 .. ($full ? 200 : 5)) {
        my $h = Nucleus::Http2->new(port => $t->port2);

        for my $i (1 .. 400) {
            my $id = $h->open('/events', event('reset'));
            $h->reset($id) if $i % 3;
            last if $h->gone || $h->closed;
        }

        $h->abort;
    }

    my $h = Nucleus::Http2->new(port => $t->port2);
    my $event = event('h2');
    my $s = $h->answer($h->open('/events', $event));
    is($s && $s->{status}, 202, 'HTTP/2 after a storm of resets');
    $acked{ id_of($event) } = 1;
    $h->close;

    $t->wait_for('no descriptor is left of them', 20, sub { Nucleus::Process::descriptors($nginx) <= $files });
}

still_well('after HTTP/2');

# ---- many streams: descriptors and memory of the pipeline stay bounded

{
    my ($pipeline) = $t->children('worker', qr/^nucleus-store$/);
    my $rss = Nucleus::Process::rss($pipeline);
    my $start = time;
    my $c = $t->client;
    my $descriptors = 0;

    for my $i (1 .. $streams) {
        my $event = event('many');
        my $r = $c->request('POST', "/stream?s=s-$i", [@json], $event);
        $acked{ id_of($event) } = 1 if $r && $r->status == 202;
        my $n = $i % 20 ? 0 : Nucleus::Process::descriptors($pipeline);
        $descriptors = $n if $n > $descriptors;
    }

    my $taken = time - $start;
    $t->wait_for("$streams streams are stored", 600, sub {
        my $n = Nucleus::Process::descriptors($pipeline);
        $descriptors = $n if $n > $descriptors;
        my $status = $t->status;
        return $status && !$status->{lag}{records};
    });

    my $grown = Nucleus::Process::rss($pipeline) - $rss;
    note(sprintf '%d streams: taken in %.1f s, stored after %.1f s, at most %d descriptors, RSS %.1f MB more',
        $streams, $taken, time - $start, $descriptors, $grown / (1 << 20));
    cmp_ok($descriptors, '<', 100, 'descriptors of the pipeline');
    cmp_ok($grown, '<', (32 << 20), 'memory of the pipeline') if !Nucleus::Process::sanitized();
    $c->close;
}

# ---- the same process has served all of it, and the store holds what was acknowledged

my @still = $t->nginx_workers;
is("@still", "$nginx", 'nginx is the same process');

my @events = $t->wait_events(sub { my %seen = map { ($_->{id} // '') => 1 } @_; !grep { !$seen{$_} } keys %acked });
my %count;
$count{ $_->{id} // '' }++ for @events;
is(scalar(grep { ($count{$_} // 0) != 1 } keys %acked), 0, 'all that was acknowledged is stored once');
is(scalar(grep { /^(?:smuggled|never|short|drip)/ } keys %count), 0, 'nothing of what lay within other requests, or was cut')
    or diag(join "\n", grep { /^(?:smuggled|never|short|drip)/ } keys %count);
is(scalar(grep { Nucleus::Store::sha256($_) ne $_->{data_sha256} } @events), 0, 'unchanged');

my @strange;
my $name = qr/[a-z0-9][a-z0-9._-]{0,63}/;
File::Find::find({ no_chdir => 1, wanted => sub {
    my $path = substr($_, length $t->store);
    push @strange, $path
        if $path !~ m{^(?:/stream=$name(?:/tenant=$name(?:/date=[\d-]{10}(?:/hour=\d\d(?:/[0-9a-f-]{36}\.ndjson)?)?)?)?)?$};
} }, $t->store);
is("@strange", '', 'only names that are names in the store');
is(join(' ', sort map { m{([^/]+)$} } grep { -d } glob $t->dir . '/*'),
    'body fastcgi proxy queue scgi state store uwsgi', 'and nothing beside it');

$t->finish;
done_testing;
