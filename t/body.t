#!/usr/bin/perl

# A request's body, however it arrives: all of it is stored, and the connection goes on.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use Test::More;

use Nucleus::Test;

my $t = Nucleus::Test->new(
    server    => 'client_body_buffer_size 8k; nucleus_max_event_size 20m; nucleus_max_events 5000;',
    locations => <<'END',
        location = /slow    { nucleus auto; client_body_buffer_size 1; }
        location = /file    { nucleus auto; client_body_in_file_only clean; }
        location = /mirror  { nucleus auto; mirror /sink; }
        location = /spooled { nucleus auto; mirror /sink; client_body_buffer_size 1k; }
        location = /kept    { nucleus auto; mirror /sink; client_body_in_file_only clean; }
        location = /auth    { nucleus auto; auth_request /yes; }
        location = /sink    { internal; return 204; }
        location = /yes     { internal; return 204; }
        location = /static  { return 200 "static\n"; }
END
);

$t->start;

my (%sent, $number);
my $letters = join('', 'a' .. 'z') x (700_000);

# A new event of so many bytes, with an id of its own; all are looked for at the end.
sub event {
    my ($size) = @_;

    my $id = sprintf 'body-%05d', ++$number;
    my $data = qq({"id":"$id","x":""});
    my $more = $size - length $data;
    substr($data, -2, 0, substr($letters, $number % 26, $more)) if $more > 0;
    $sent{$id} = sha256_hex($data);

    return $data;
}

my @json = ('Content-Type' => 'application/json');

sub text {
    my ($body, $uri, @headers) = @_;

    return Nucleus::Client::text('POST', $uri // '/events', [ @json, @headers ], $body);
}

sub chunked_text {
    my ($body, $uri, @sizes) = @_;

    return Nucleus::Client::text('POST', $uri, [ @json, 'Transfer-Encoding' => 'chunked' ])
        . Nucleus::Client::chunked($body, @sizes);
}

# ---- in memory, over the buffers, in files, chunked; all on one connection each

for my $uri (qw(/events /slow /file /mirror /spooled /kept /auth)) {
    my $c = $t->client;

    for my $size (40, 1000, 8191, 8192, 8193, 20_000, 300_000, 1_500_000) {
        $c->send(text(event($size), $uri));
        $t->is_receipt($c->response, 1, "$uri: $size bytes");
    }

    for my $size (40, 9000, 400_000) {
        $c->send(chunked_text(event($size), $uri, 1, 2, 3, 5, 8, 13, 100, 4097));
        $t->is_receipt($c->response, 1, "$uri: $size bytes in chunks");
    }

    $c->close;
}

# ---- many events in one body

{
    my @events = map { event(200) } 1 .. 3000;
    $t->is_receipt($t->post('/events', '[' . join(",\n", @events) . ']'), 3000, 'array of 3000');

    @events = map { event(200) } 1 .. 3000;
    $t->is_receipt($t->post('/events', join("\n", @events), type => 'application/x-ndjson'),
        3000, '3000 lines');
}

# ---- 16 MB

{
    my $c = $t->client(timeout => 60);
    $c->send(text(event(16 << 20)));
    $t->is_receipt($c->response, 1, '16 MB, by length');
    $c->send(chunked_text(event(16 << 20), '/events', 65_537));
    $t->is_receipt($c->response, 1, '16 MB, in chunks');
    $c->close;
}

# ---- a small request cut in two at every byte, then byte by byte

for my $kind (qw(length chunks)) {
    my $c = $t->client;
    my ($good, $cuts) = (0, 0);

    my $make = sub {
        my $body = event(40);
        return $kind eq 'length' ? text($body) : chunked_text($body, '/events', 7);
    };

    my $length = length $make->();
    delete $sent{ sprintf 'body-%05d', $number };

    for my $cut (1 .. $length - 1) {
        my $request = $make->();
        $c->send(substr($request, 0, $cut));

        # two packets: Nagle's algorithm is off
        $c->send(substr($request, $cut));
        my $r = $c->response or last;
        $cuts++;
        $good++ if $r->status == 202;
    }

    is($good, $length - 1, "$kind: cut at each of its bytes") or diag("$cuts cuts were answered");

    $c->send($_) for split //, $make->();
    $t->is_receipt($c->response, 1, "$kind: byte by byte");
    $c->close;
}

# the body begins only after nginx has begun to wait for it
{
    my $c = $t->client;
    my $body = event(30_000);
    my $request = text($body);
    my $head = length($request) - length($body);

    $c->send(substr($request, 0, $head));
    is($t->get('/static')->status, 200, 'another request is answered meanwhile');
    $c->send(substr($request, $head, 1));
    is($t->get('/static')->status, 200, 'and once more');
    $c->send(substr($request, $head + 1));
    $t->is_receipt($c->response, 1, 'a body that begins late');
    $c->close;
}

# ---- Expect: 100-continue

for my $size (30, 20_000, 300_000) {
    my $c = $t->client;
    my $body = event($size);
    my $request = text($body, '/events', Expect => '100-continue');

    $c->send(substr($request, 0, length($request) - length($body)));
    my $r = $c->response(interim => 1);
    is($r && $r->status, 100, "100 Continue for $size bytes");
    $c->send($body);
    $t->is_receipt($c->response, 1, 'and a receipt');
    $c->send(text(event(30)));
    $t->is_receipt($c->response, 1, 'and the connection goes on');
    $c->close;
}

{
    my $c = $t->client;
    my $request = Nucleus::Client::text('POST', '/events',
        [ 'Content-Type' => 'text/plain', 'Content-Length' => 20_000, Expect => '100-continue' ]);

    $c->send($request);
    my $r = $c->response(interim => 1);
    $t->is_problem($r, 415, 'unsupported-media-type', {}, 'refused instead of 100 Continue');

    # a client that was refused may still send the body, or not: no byte of it may be a request
    $c->send("GET /static HTTP/1.1\r\nHost: a\r\n\r\n");
    ok($c->closed(20), 'and the connection ends: nobody knows whether a body follows');
    $c->close;
}

# ---- pipelined, several in one packet

{
    my $c = $t->client;
    $c->send(join '', map { text(event(50 + $_)) } 1 .. 20);
    my $good = grep { my $r = $c->response; $r && $r->status == 202 } 1 .. 20;
    is($good, 20, '20 requests in one packet');

    $c->send(text(event(60)) . text('{bad}') . chunked_text(event(5000), '/events', 512)
            . "GET /static HTTP/1.1\r\nHost: a\r\n\r\n"
            . text(event(20_000), '/mirror')
            . text('[]') . text(event(60), '/file'));
    is(join(' ', map { my $r = $c->response; $r ? $r->status : 'none' } 1 .. 7),
        '202 400 202 200 202 400 202', 'good and bad ones mixed');
    is($c->rest, '', 'and not a byte more');
    $c->close;
}

# ---- keep-alive after each error that leaves the body's end known

{
    my $c = $t->client;
    my @error = (
        [ 'invalid JSON'    => 400, text('{"a":') ],
        [ 'no object'       => 400, text('[1]') ],
        [ 'no body'         => 400, text('') ],
        [ 'length 0'        => 400, text(undef, '/events', 'Content-Length' => 0) ],
        [ 'nothing at all'  => 400, text(undef) ],
        [ 'empty chunked'   => 400, chunked_text('', '/events', 1) ],
        [ 'only spaces'     => 400, text(" \r\n\t") ],
        [ 'no events'       => 400, text(' [ ] ') ],
        [ 'wrong type'      => 415,
            Nucleus::Client::text('POST', '/events', [ 'Content-Type' => 'text/csv' ], 'a,b') ],
        [ 'wrong encoding'  => 415, text('{}', '/events', 'Content-Encoding' => 'gzip') ],
        [ 'wrong method'    => 405, Nucleus::Client::text('PUT', '/events', [@json], '{"id":"x"}') ],
        [ 'bad 20 KB'       => 400, text('{"a":"' . 'x' x 20_000) ],
        [ 'bad chunked'     => 400, chunked_text('{"a":"' . 'x' x 20_000, '/events', 1000) ],
    );

    for my $case (@error) {
        my ($name, $status, $request) = @$case;

        $c->send($request);
        my $r = $c->response;
        is($r && $r->status, $status, "$name: $status");

        if ($r && ($r->header('Connection') // '') eq 'close') {
            fail("$name: the connection goes on");
            $c->close;
            $c = $t->client;
            next;
        }

        $c->send(text(event(100)));
        $t->is_receipt($c->response, 1, "$name: the next request is taken");
    }

    $c->close;
}

# ---- more than was said, less than was said

{
    my $c = $t->client;
    my $body = event(50);
    $c->send(text($body) . 'garbage behind the body');
    $t->is_receipt($c->response, 1, 'what follows the length is not the body');
    $c->close;

    $c = $t->client;
    $c->send(Nucleus::Client::text('POST', '/events', [ @json, 'Transfer-Encoding' => 'chunked' ])
            . "5\r\n{\"a\":xx\r\n0\r\n\r\n");
    my $r = $c->response;
    is($r && $r->status, 400, 'chunks that are none');
    $c->close;

    $c = $t->client;
    $body = event(50);
    $c->send(text($body));
    $c->half_close;
    $t->is_receipt($c->response, 1, 'a client that closes its half after the body');
    $c->close;
}

# ---- all of it is there, once, unchanged

my @events = $t->wait_events(sub { my %seen = map { ($_->{id} // '') => 1 } @_; !grep { !$seen{$_} } keys %sent });
is(scalar @events, scalar keys %sent, 'every event once, and no other');
is(scalar(grep { $sent{ $_->{id} // '' } ne $_->{data_sha256} } @events), 0, 'of the right hash');
is(scalar(grep { Nucleus::Store::sha256($_) ne $_->{data_sha256} } @events), 0, 'unchanged');

$t->finish;
done_testing;
