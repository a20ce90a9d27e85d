#!/usr/bin/perl

# What is refused, with which problem (RFC 9457), and that nothing of it is stored.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Nucleus::Test;

my $t = Nucleus::Test->new(
    http   => 'proxy_intercept_errors on;',
    server => 'client_max_body_size 64k; nucleus_max_event_size 1k; nucleus_max_events 3;
               nucleus_max_event_depth 4;',
    locations => <<'END',
        location = /upload { nucleus json; client_max_body_size 0; nucleus_max_event_size 1000m;
                             client_body_timeout 1s; }
        location = /stream { nucleus auto; nucleus_stream $arg_s; }
        location = /tenant { nucleus auto; nucleus_tenant $arg_t; }
        location ~ (?s)^/v1/(?<name>.*)\z { nucleus auto; nucleus_stream $name; }

        # error_page of the operator
        location = /own     { nucleus auto; error_page 400 405 415 /own.html; }
        location = /own.html { internal; return 200 "<p>own</p>\n"; }
        location = /other   { nucleus auto; error_page 400 =422 /own.html; }
        location = /away    { nucleus auto; error_page 405 = @nucleus; }
        location @nucleus   { nucleus auto; }

        # ways that lead to a nucleus location
        location = /missing { error_page 404 = /events; return 404; }   # makes it a GET
        location = /named   { error_page 404 = @nucleus; return 404; }
        location = /rewrite { rewrite ^ /events last; }
        location = /try     { root %%DIR%%/none; try_files $uri /events; }
        location = /tryat   { root %%DIR%%/none; try_files $uri @nucleus; }
        location = /if      { if ($arg_x) { set $y 1; } nucleus auto; }
        location = /limited { nucleus auto; limit_except POST { deny all; } }
        location = /denied  { nucleus auto; deny all; }
        location = /proxy   { proxy_pass http://127.0.0.1:%%PORT%%/events; }
        location = /retry   { proxy_pass http://127.0.0.1:%%PORT%%/refuse; error_page 503 = @nucleus; }
        location = /refuse  { return 503; }
END
);

$t->start;

my @json = ('Content-Type' => 'application/json');

# ---- method

for my $method (qw(GET HEAD PUT DELETE OPTIONS PATCH)) {
    my $r = $t->request($method, '/events', [@json], $method =~ /PUT|PATCH/ ? '{}' : undef);
    is($r->status, 405, "$method: 405");
    is($r->header('Allow'), 'POST', "$method: Allow");
    $t->is_problem($r, 405, 'method-not-allowed', {}, "$method: a problem") if $method ne 'HEAD';
}

{
    my $r = $t->post('/health', '{}');
    $t->is_problem($r, 405, 'method-not-allowed', {}, 'POST to health');
    is($r->header('Allow'), 'GET, HEAD', 'its Allow');
}

# ---- type

for my $type ('text/plain', 'application/xml', 'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x', 'application/jsonx', 'application/', '', 'json')
{
    $t->is_problem($t->post('/events', '{}', type => $type), 415, 'unsupported-media-type', {},
        "type \"$type\"");
}

$t->is_problem($t->request('POST', '/events', [], '{}'), 415, 'unsupported-media-type', {}, 'no type');
$t->is_problem($t->post('/events', '{}', type => 'application/json; charset=latin1'),
    415, 'unsupported-charset', {}, 'charset');

for my $encoding (qw(gzip deflate br), 'identity, gzip') {
    my $r = $t->post('/events', '{}', headers => [ 'Content-Encoding' => $encoding ]);
    $t->is_problem($r, 415, 'unsupported-encoding', {}, "encoding $encoding");
    is($r->header('Accept-Encoding'), 'identity', 'RFC 9110, section 12.5.3: what would do');
}

for my $type ('application/json', 'APPLICATION/JSON', 'application/json;charset="utf-8"',
    'application/json ; charset=UTF-8', 'application/activity+json')
{
    $t->is_receipt($t->post('/events', '{"good":1}', type => $type), 1, "type \"$type\" is taken");
}

$t->is_receipt($t->post('/events', '{"good":1}', headers => [ 'Content-Encoding' => 'identity' ]),
    1, 'encoding identity is taken');

# ---- size and number

sub large { return '{"id":"never","x":"' . 'x' x $_[0] . '"}' }

{
    my $r = $t->post('/events', large(70_000));
    $t->is_problem($r, 413, 'body-too-large', {}, 'client_max_body_size, by length');

    my $c = $t->client;
    $c->send(Nucleus::Client::text('POST', '/events', [ @json, 'Transfer-Encoding' => 'chunked' ]));
    $c->send(Nucleus::Client::chunked(large(70_000), 1000));
    $t->is_problem($c->response, 413, 'body-too-large', {}, 'client_max_body_size, chunked');
    $c->close;

    $c = $t->client;
    $c->send(Nucleus::Client::text('POST', '/upload', [ @json, 'Content-Length' => 70 << 30 ]));
    $t->is_problem($c->response, 413, 'body-too-large', {}, 'over what the memory may hold');
    $c->close;

    $t->is_problem($t->post('/events', large(2000)), 413, 'event-too-large',
        { event => 0, offset => 0, pointer => '' }, 'one event');
    $t->is_problem($t->post('/events', '[{"a":1},' . large(2000) . ']'), 413, 'event-too-large',
        { event => 1, offset => 9, pointer => '/1' }, 'the second');
    $t->is_problem($t->post('/events', qq({"a":1}\n) . large(2000), type => 'application/x-ndjson'),
        413, 'event-too-large', { event => 1, offset => 8, pointer => '' }, 'the second line');

    $t->is_receipt($t->post('/events', '{"good":"' . 'x' x (1024 - 11) . '"}'), 1, 'exactly the limit');
    $t->is_problem($t->post('/events', '{"bad":"' . 'x' x (1025 - 10) . '"}'), 413, 'event-too-large', {},
        'one byte more');

    $t->is_problem($t->post('/events', '[{},{},{},{}]'), 413, 'too-many-events', { event => 3 }, 'four');
    $t->is_receipt($t->post('/events', '[{"good":1},{"good":2},{"good":3}]'), 3, 'three');
    $t->is_problem($t->post('/events', "{}\n" x 4, type => 'application/x-ndjson'),
        413, 'too-many-events', { event => 3 }, 'four lines');
}

# ---- what is no event, and where

my @bad = (
    [ 'invalid-json' => '{"id":"never"',            { event => 0, offset => 13, pointer => '' } ],
    [ 'invalid-json' => '{"id":"never",}',          { event => 0, offset => 14 } ],
    [ 'invalid-json' => "{'id':1}",                 { event => 0, offset => 1 } ],
    [ 'invalid-json' => '{"a":01}',                 { event => 0, pointer => '/a' } ],
    [ 'invalid-json' => '{"a":[1,2,tru]}',          { event => 0, pointer => '/a/2' } ],
    [ 'invalid-json' => '{"a/b":{"~":nul}}',        { pointer => '/a~1b/~0' } ],
    [ 'invalid-json' => '[{"a":1},{"b":}]',         { event => 1, offset => 14 } ],
    [ 'invalid-json' => '[{"a":1},]',               {} ],
    [ 'invalid-json' => '[{"a":1} {"b":1}]',        { event => 1, offset => 9 } ],
    [ 'invalid-json' => '{"a":1}{"b":2}',           { offset => 7 } ],
    [ 'invalid-json' => '{"a":1} x',                { offset => 8 } ],
    [ 'invalid-json' => "{\"a\":\"\xff\"}",         { pointer => '/a', offset => 6 } ],
    [ 'invalid-json' => "{\"a\":\"\xc0\xaf\"}",     { pointer => '/a' } ],
    [ 'invalid-json' => "{\"a\":\"\xed\xa0\x80\"}", { pointer => '/a' } ],
    [ 'invalid-json' => "\xef\xbb\xbf{}",           { offset => 0 } ],
    [ 'invalid-json' => "{\"a\":\"\n\"}",           { pointer => '/a' } ],
    [ 'invalid-json' => "{\"a\":\"\0\"}",           { pointer => '/a' } ],
    [ 'invalid-json' => '{"a":"\\x"}',              { pointer => '/a' } ],
    [ 'invalid-json' => '{"a":NaN}',                { pointer => '/a' } ],
    [ 'invalid-json' => 'xyz',                      { offset => 0 } ],
    [ 'not-an-object' => '1',                       { event => 0, pointer => '' } ],
    [ 'not-an-object' => '"never"',                 { event => 0 } ],
    [ 'not-an-object' => 'null',                    { event => 0 } ],
    [ 'not-an-object' => '[{},[],{}]',              { event => 1, pointer => '/1', offset => 4 } ],
    [ 'not-an-object' => '[{},"a"]',                { event => 1, pointer => '/1' } ],
    [ 'too-deep'      => '{"a":{"a":{"a":{"a":{}}}}}', { event => 0 } ],
    [ 'too-deep'      => '[{},{"a":[[[[1]]]]}]',    { event => 1 } ],
    [ 'empty-body'    => '',                        {} ],
    [ 'empty-body'    => "  \n",                    {} ],
    [ 'empty-body'    => '[]',                      {} ],
);

for my $case (@bad) {
    my ($type, $body, $where) = @$case;
    (my $name = substr($body, 0, 40)) =~ s/([^ -~])/sprintf '\\x%02x', ord $1/ge;
    $t->is_problem($t->post('/events', $body), 400, $type, $where, "$type: $name");
}

$t->is_receipt($t->post('/events', '{"good":{"a":{"a":{}}}}'), 1, 'as deep as may be');

my @bad_lines = (
    [ 'invalid-json'  => qq({"a":1}\n{"b":\n},\n),   { event => 1, offset => 13 } ],
    [ 'invalid-json'  => qq({"a":1}\n\n{"b":1} x\n), { offset => 17 } ],
    [ 'not-an-object' => qq({"a":1}\n[{"b":1}]\n),   { event => 1, offset => 8, pointer => '' } ],
    [ 'invalid-json'  => qq({"a":1},{"b":1}\n),      { offset => 7 } ],
    [ 'empty-body'    => "\n\r\n \n",                {} ],
);

for my $case (@bad_lines) {
    my ($type, $body, $where) = @$case;
    $t->is_problem($t->post('/events', $body, type => 'application/x-ndjson'), 400, $type, $where,
        "$type in NDJSON");
}

# ---- names that reach a path

for my $name ('..', '.', '', '../x', 'a/b', 'a%2fb', '%2e%2e', 'A', 'a%00b', '-a', '_a', '.a', 'a%0a',
    'x' x 65, "%c3%a9", 'a%20b', '*')
{
    $t->is_problem($t->post("/v1/$name", '{"id":"never"}'), 400, 'invalid-stream', {},
        "stream in the path: \"$name\"")
        if $name !~ m{^(?:\.\.?|\.\./x|%2e%2e|a%00b)$};
    next if $name =~ /%/;
    $t->is_problem($t->post("/stream?s=$name", '{"id":"never"}'), 400, 'invalid-stream', {}, "stream \"$name\"");
    $t->is_problem($t->post("/tenant?t=$name", '{"id":"never"}'), 400, 'invalid-tenant', {}, "tenant \"$name\"");
}

for my $name ('a', '0', 'a.b_c-d', 'a..b', 'x' x 64) {
    $t->is_receipt($t->post("/v1/$name", '{"good":1}'), 1, "stream \"$name\" is taken");
    $t->is_receipt($t->post("/tenant?t=$name", '{"good":1}'), 1, "tenant \"$name\" is taken");
}

# ---- Idempotency-Key

for my $key ('', 'x' x 256, "a\x7f", "\xc3\xa9") {
    $t->is_problem($t->post('/events', '{"id":"never"}', headers => [ 'Idempotency-Key' => $key ]),
        400, 'invalid-idempotency-key');
}

$t->is_problem($t->post('/events', '{"id":"never"}',
        headers => [ 'Idempotency-Key' => 'a', 'Idempotency-Key' => 'b' ]),
    400, 'invalid-idempotency-key', {}, 'two keys');

# ---- the operator's error_page wins

{
    my $r = $t->post('/own', '{');
    is($r->status, 400, 'error_page: the status stays');
    is($r->body, "<p>own</p>\n", 'error_page: the page of the operator');
    isnt($r->header('Content-Type'), 'application/problem+json', 'error_page: its type');

    $r = $t->get('/own');
    is($r->status, 405, 'error_page 405');
    is($r->body, "<p>own</p>\n", 'error_page 405: the page of the operator');

    $r = $t->post('/other', '{');
    is($r->status, 422, 'error_page 400 =422');
    is($r->body, "<p>own</p>\n", 'with the page of the operator');
}

# ---- internal redirects to a nucleus location

for my $uri (qw(/named /rewrite /try /tryat /if /if?x=1 /limited /proxy /retry)) {
    my $c = $t->client;
    my $body = '{"good":"' . $uri . '"}';
    $c->send(Nucleus::Client::text('POST', $uri, [@json], $body) x 2);
    $t->is_receipt($c->response, 1, "$uri: taken");
    $t->is_receipt($c->response, 1, "$uri: and on the same connection again");
    $c->close;

    $t->is_receipt($t->post($uri, '{"good":"' . 'x' x 900 . '"}' . ' ' x 40_000), 1, "$uri: a body of 40 KB");

    my $r = $t->post($uri, '{"bad');
    $t->is_problem($r, 400, 'invalid-json', {}, "$uri: refused") if $uri ne '/proxy';
}

$t->is_problem($t->post('/missing', '{}'), 405, 'method-not-allowed', {},
    'error_page to a URI: nginx makes it a GET');
$t->is_problem($t->get('/away'), 405, 'method-not-allowed', {}, 'refused again after error_page');
$t->is_problem($t->post('/denied', '{"id":"never"}'), 403, 'forbidden', {},
    'nginx\'s own refusals are problems too');
$t->is_problem($t->get('/limited'), 403, 'forbidden', {}, 'limit_except');

{
    my $c = $t->client;
    $c->send("POST /events HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            . "Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    my $r = $c->response;
    is($r && $r->status, 400, 'both lengths');
    $c->close;

    $r = $t->get('/nowhere');
    is($r->status, 404, 'outside our locations');
    is($r->header('Content-Type'), 'text/html', 'nginx answers as ever');
}

# ---- a slow body

{
    my $c = $t->client;
    $c->send(Nucleus::Client::text('POST', '/upload', [ @json, 'Content-Length' => 100 ]) . '{"id":"never"');
    ok($c->closed(20) || $c->rest =~ m{^HTTP/1.1 408 }, '408 or closed after client_body_timeout');
    $c->close;
}

# ---- nothing that was refused is stored

$t->is_receipt($t->post('/events', '{"id":"last","good":1}'), 1, 'the last');
my @events = $t->wait_events(sub { grep { ($_->{id} // '') eq 'last' } @_ });
is(scalar(grep { $_->{data} !~ /"good"/ } @events), 0, 'nothing that was refused is in the store');
ok(!-e $t->store . '/../x' && !-e $t->dir . '/x', 'nothing outside of the store');

$t->finish;
done_testing;
