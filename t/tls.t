#!/usr/bin/perl

# The same over TLS: by curl, and by openssl s_client where the bytes have to be ours.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IPC::Open2;
use Test::More;

use Nucleus::Test;

my $t = Nucleus::Test->new(
    server => <<'END',
        listen 127.0.0.1:%%PORT2%% ssl;
        ssl_certificate     %%DIR%%/cert.pem;
        ssl_certificate_key %%DIR%%/key.pem;
        keepalive_timeout   5s;
END
);

my $dir = $t->dir;
$t->make_certificate;
$t->start;

my $url = 'https://127.0.0.1:' . $t->port2;
my %sent;

# Status and body, as curl sees them.
sub curl {
    my (@args) = @_;

    my ($code, $text) = $t->run([ qw(curl -s -S -m 30 --cacert), "$dir/cert.pem", '-w', '\n%{http_code}', @args ]);
    my ($body, $http) = $text =~ /\A(.*)\n(\d{3})\z/s;

    return ($code, $http // 0, $body // $text);
}

sub taken {
    my ($name, $count, @args) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my ($code, $http, $body) = curl(@args);
    ok($code == 0 && $http == 202 && $body =~ /^\{"accepted":$count,/, $name) or diag("curl $code, $http: $body");
}

# A connection whose bytes are ours.
sub s_client {
    my $pid = open2(my $from, my $to, 'sh', '-c', 'exec "$@" 2>/dev/null', 'sh',
        qw(openssl s_client -quiet -no_ign_eof -CAfile), "$dir/cert.pem", '-connect', '127.0.0.1:' . $t->port2);
    binmode $_ for $from, $to;

    return ($pid, $from, $to);
}

my @json = ('-H', 'Content-Type: application/json');

my ($status) = $t->run([ qw(curl -s -m 30), "$url/health" ]);
isnt($status, 0, 'the certificate is not one that anybody trusts');

my ($code, $http, $body) = curl("$url/health");
is($http, 200, 'ready over TLS') or diag("curl $code: $body");

taken('an object', 1, @json, '-d', '{"id":"tls-1"}', "$url/events");
taken('HTTP/1.0', 1, @json, '--http1.0', '-d', '{"id":"tls-2"}', "$url/events");

# larger than a TLS record, than the buffers, and than what goes into one queue
my @file;

for my $size (20_000, 200_000, 900_000) {
    my $id = "tls-$size";
    my $file = $t->write_file("$id.json", qq({"id":"$id","x":") . 'x' x $size . '"}');
    taken("$size bytes", 1, @json, '--data-binary', "\@$file", "$url/events");
    taken("$size bytes, chunked", 1, @json, '-H', 'Transfer-Encoding: chunked', '-H', 'Idempotency-Key: a',
        '--data-binary', '{"x":"' . 'y' x ($size > 100_000 ? 100_000 : $size) . '"}', "$url/events");
    taken("$size bytes after 100 Continue", 1, @json, '-H', 'Expect: 100-continue', '--expect100-timeout', '20',
        '--data-binary', "\@" . $t->write_file("c$id.json", qq({"id":"c$id","x":") . 'x' x $size . '"}'),
        "$url/events");
    push @file, $id, "c$id";
}

($code, $http, $body) = curl(@json, '-d', '{', "$url/events");
is($http, 400, 'a problem over TLS');
like($body, qr/^\{"type":"urn:nucleus:problem:invalid-json"/, 'its type');

# ---- bytes of our own: pipelined, then the connection cut in the middle of a body

{
    my ($pid, $from, $to) = s_client();

    my @headers = ('Content-Type' => 'application/json');
    print {$to} map { Nucleus::Client::text('POST', '/events', \@headers, qq({"id":"tls-p$_"})) } 1 .. 5;
    print {$to} Nucleus::Client::text('POST', '/events', [ @headers, Connection => 'close' ], '{"id":"tls-p6"}');
    $to->flush;

    my $answers = '';
    my $end = time + 30;

    while (time < $end) {
        my $rin = '';
        vec($rin, fileno($from), 1) = 1;
        next if !select($rin, undef, undef, 0.5);
        last if !sysread($from, $answers, 65_536, length $answers);
    }

    close $to;
    close $from;
    waitpid $pid, 0;

    my $good = () = $answers =~ m{^HTTP/1\.1 202 }mg;
    is($good, 6, '6 requests, pipelined') or diag($answers);
}

{
    my ($pid, $from, $to) = s_client();

    print {$to} Nucleus::Client::text('POST', '/events',
        [ 'Content-Type' => 'application/json',
            'Content-Length' => 100_000 ]) . '{"id":"tls-cut","x":"' . 'x' x 50_000;
    $to->flush;
    kill KILL => $pid;
    waitpid $pid, 0;
    close $to;
    close $from;
}

# a TLS connection that says no HTTP, and HTTP that says no TLS
{
    my $r = $t->request('POST', '/events', [ 'Content-Type' => 'application/json' ],
        '{"id":"tls-plain"}', port => $t->port2);
    is($r->status, 400, 'HTTP to the TLS port: 400');
}

taken('the next client', 1, @json, '-d', '{"id":"tls-last"}', "$url/events");

my @want = (qw(tls-1 tls-2 tls-last), @file, map { "tls-p$_" } 1 .. 6);
my @events = $t->wait_events(@want + 3);
my %count;
$count{ $_->{id} // 'none' }++ for @events;
is(join(' ', map { $count{$_} // 0 } @want), join(' ', (1) x @want), 'every event once');
is(scalar @events, @want + 3, 'and no other');
is(scalar(grep { Nucleus::Store::sha256($_) ne $_->{data_sha256} } @events), 0, 'unchanged');

$t->finish;
done_testing;
