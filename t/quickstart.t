#!/usr/bin/perl

# The quickstart as it is shipped: events go in, and are in the store within two seconds, verbatim.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use File::Path ();
use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

use Nucleus::Test;

my $examples = "$Nucleus::Test::ROOT/conf-examples";

# ---- the files as they are, but for the port and, as root, the user

my $t = Nucleus::Test->new;

sub example {
    my ($name) = @_;

    my $text = $t->read_file("$examples/$name");
    ok(length $text, "$name is there");

    return $text;
}

my $nginx = example('quickstart.conf');
my $port = $t->port;
is($nginx =~ s/127\.0\.0\.1:8080/127.0.0.1:$port/g, 1, 'it listens on 127.0.0.1:8080');

# root's processes are his
$nginx = "user root;\n$nginx" if $t->is_root;

my $dir = $t->dir;
File::Path::make_path("$dir/run", "$dir/modules");
my $key = Nucleus::Registry->new($t, "$dir/run")->key;
symlink Nucleus::Test::module_file(), "$dir/modules/ngx_http_nucleus_module.so";

$t->{store} = "$dir/run/store";
$t->write_confs(nginx => $nginx, worker => example('quickstart-worker.conf'));
ok($t->start, 'nginx and nucleus-worker start');

sub post_event {
    my ($body, %opt) = @_;

    return $t->post('/events', $body, %opt, headers => [ @{ $key->{bearer} }, @{ $opt{headers} // [] } ]);
}

# ---- three ways to send

my @way = (
    [ 'an object',    'application/json',     1, '{"id":"object","n":1}' ],
    [ 'an array',     'application/json',     3, '[{"id":"a0"},{"id":"a1"},{"id":"a2"}]' ],
    [ 'NDJSON',       'application/x-ndjson', 2, qq({"id":"l0"}\n{"id":"l1"}\n) ],
    [ 'no LF at end', 'application/x-ndjson', 2, qq({"id":"m0"}\r\n\n{"id":"m1"}) ],
    [ '+json',        'application/vnd.x+json; charset=UTF-8', 1, '{"id":"plus"}' ],
);

my (@ids, @rids, @seconds);

for my $way (@way) {
    my ($name, $type, $count, $body) = @$way;

    my $sent = time;
    my $r = post_event($body, type => $type);
    next if !$t->is_receipt($r, $count, "$name: a receipt");

    push @rids, @{ $r->json->{ids} };
    push @ids, $body =~ /"id":"(\w+)"/g;

    $t->wait_events(scalar @rids);
    push @seconds, time - $sent;
}

my @events = $t->events;
is(join(' ', sort map { $_->{id} } @events), join(' ', sort @ids), 'each event once');
is(join(' ', sort map { $_->{rid} } @events), join(' ', sort @rids), 'by the ids of the receipts');

my $median = (sort { $a <=> $b } @seconds)[ @seconds / 2 ];
cmp_ok($median, '<', 2, 'within two seconds') or diag("took @seconds");

# ---- where, and with what attributes

my ($event) = grep { $_->{id} eq 'object' } @events;
my $line = eval { JSON::PP->new->utf8->decode($event->{line}) };
is(ref $line, 'HASH', 'a line is a JSON object');

is($event->{tenant}, 'default', 'tenant');
is($event->{stream}, 'json', 'stream: the kind, where none is configured');
is($event->{kind}, 'json', 'kind');
is($event->{content_type}, 'application/json', 'content_type');
is($event->{data_sha256}, sha256_hex('{"id":"object","n":1}'), 'data_sha256');
like($event->{request_id}, qr/^[0-9a-f]{32}$/, 'request_id');
ok(length $event->{node}, 'node');
is($event->{key_id}, $key->{id}, 'key_id');
unlike($event->{line}, qr/127\.0\.0\.1/, 'no address of the client');

like($event->{received}, qr/^\d{4}-\d\d-\d\dT(\d\d):\d\d:\d\d\.\d{6}Z$/, 'received: UTC, µs');
my ($date, $hour) = $event->{received} =~ /^([\d-]+)T(\d\d)/;
like(
    $event->{file},
    qr{^\Q$dir\E/run/store/stream=json/tenant=default/date=$date/hour=$hour/[^/]+\.ndjson$},
    'partitions'
);
my @files = Nucleus::Store::files($t->store);
is_deeply(\@files, [ sort keys %{ { map { $_->{file} => 1 } @events } } ], 'no empty file');
cmp_ok(scalar @files, '<=', 2, 'few files');

# ---- verbatim

my $clef = "\xf0\x9d\x84\x9e";
my @verbatim = (
    [ 'big numbers' => '{"id":"v1","n":123456789012345678901234567890,"f":1.00000000000000000001,'
            . '"e":1E+400,"z":-0,"x":0.10}' ],
    [ 'escapes' => '{"id":"v2","s":"\\u00e9\\/\\b\\ud834\\udd1e\\n\\u0000","t":"' . $clef . '\\"}"}' ],
    [ 'key order and repeats' => '{"z":1,"id":"v3","a":2,"z":3}' ],
    [ 'spacing' => qq({  "id"\t:"v4" ,"a":[ ] , "o" :{ }  }) ],
    [ 'CR and LF' => qq({\r\n  "id": "v5",\n\n  "s": "a\\r\\nb"\r}) ],
    [ 'looks like a line of the store' =>
            '{"id":"v6","data":{"x":1},"data_sha256":"' . ('0' x 64) . '","s":"\\",\\"data\\":{"}' ],
);

for my $case (@verbatim) {
    my ($name, $data) = @$case;
    $t->is_receipt(post_event(" $data\n"), 1, "$name: taken");
}

@events = $t->wait_events(@rids + @verbatim);

for my $case (@verbatim) {
    my ($name, $data) = @$case;
    my ($id) = $data =~ /"id"\s*:\s*"(\w+)"/;
    my ($found) = grep { ($_->{id} // '') eq $id } @events;

    (my $want = $data) =~ tr/\r\n/  /;
    is($found->{data}, $want, "$name: verbatim, CR and LF as spaces");
    is($found->{data_sha256}, sha256_hex($data), "$name: data_sha256 is of the original");
    ok(eval { JSON::PP->new->utf8->decode($found->{line}) }, "$name: the line is JSON");
}

# ---- identity

$t->is_receipt(my $first = post_event('{"id":"same"}'), 1);
$t->is_receipt(my $other = post_event('{"id":"other"}'), 1);
isnt($first->json->{ids}[0], $other->json->{ids}[0], 'another id, another record');

my @key = (headers => [ 'Idempotency-Key' => 'k-1' ]);
$t->is_receipt(my $keyed = post_event('[{"a":1},{"a":1}]', @key), 2);
isnt($keyed->json->{ids}[0], $keyed->json->{ids}[1], 'Idempotency-Key: one record an index');

$t->is_receipt(my $none = post_event('{"a":1}'), 1);
like($none->json->{ids}[0], qr/^[0-9a-f]{8}-[0-9a-f]{4}-7/, 'neither: a UUID of version 7');

$t->is_receipt(
    post_event('{"id":"\\u0061\\"\\\\b\\u00e9"}',
        headers => [ traceparent => '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' ]),
    1, 'an id with escapes'
);

@events = $t->wait_events(@rids + @verbatim + 6);
my ($escaped) = grep { ($_->{id} // '') =~ /^a"/ } @events;
is($escaped->{id}, qq(a"\\b\xc3\xa9), 'the id is stored without its escapes');
is($escaped->{traceparent}, '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
    'traceparent');

# ---- what is there stays there

my $count = @events;
is($t->stop('nginx'), 0, 'nginx ends');
is($t->stop('worker'), 0, 'nucleus-worker ends');
ok($t->start, 'both start again');
$t->is_receipt(post_event('{"id":"again"}'), 1);
@events = $t->wait_events($count + 1);
is(scalar @events, $count + 1, 'the second run goes on where the first stopped');
is($t->get('/health')->status, 200, '/health');

$t->finish;
done_testing;
