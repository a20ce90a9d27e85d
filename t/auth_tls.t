#!/usr/bin/perl

# Keys over TLS and HTTP/2: client certificates that stand for a key, the key in the query, and that
# over TLS nobody asks whether there is a proxy.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Nucleus::Test;

my $t = Nucleus::Test->new(keys => 1);
my ($dir, $port, $optional) = ($t->dir, $t->free_port, $t->free_port);

# since 1.25.1 it is a directive
my ($listen, $http2) = Nucleus::Test::nginx_has('version: nginx/1\.2[234]\.') ? (' http2', '') : ('', 'http2 on;');

$t->write_confs(http => <<"END");
    log_format tls '\$request|\$request_uri|\$args|\$status|\$nucleus_key_id';

    server {
        listen 127.0.0.1:$port ssl$listen;
        $http2
        ssl_certificate        $dir/cert.pem;
        ssl_certificate_key    $dir/key.pem;
        ssl_client_certificate $dir/ca.pem;
        ssl_verify_client      optional;
        nucleus_auth_delay     0;
        nucleus_limit          off;
        access_log             $dir/tls.log tls;

        location = /events { nucleus json; }
        location = /query  { nucleus json; nucleus_auth_argument key; }
    }
END

# three certificates of one authority, one of another
$t->make_certificate;
$t->make_authority($_) for qw(ca other);
$t->make_client_certificate($_, 'ca') for qw(agent stranger);
$t->make_client_certificate('impostor', 'other');

my $registry = $t->registry;
my $key = $registry->key(tenant => 'north');
my $agent = $registry->key(tenant => 'south', certificate => "$dir/agent.pem");
$t->start or BAIL_OUT('does not start');

my $number = 0;

sub curl {
    my ($uri, @args) = @_;

    my $id = 'tls-' . ++$number;
    my ($code, $out) = $t->run([ qw(curl -s -S -m 30 --cacert), "$dir/cert.pem", '-w', '\n%{http_code}', '-d', qq({"id":"$id"}),
        '-H', 'Content-Type: application/json', @args, "https://127.0.0.1:$port$uri" ]);
    my ($body, $status) = $out =~ /\A(.*)\n(\d{3})\z/s;

    return ($status // 0, $body // $out, $id);
}

sub with { return ('--cert', "$dir/$_[0].pem", '--key', "$dir/$_[0].key") }
sub bearer { return ('-H', "Authorization: Bearer $_[0]{key}") }

sub answers {
    my ($expected, $name, @args) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my ($status, $body, $id) = curl(@args);
    is($status, substr($expected, 0, 3), $name) or diag($body);
    like($body, qr/"urn:nucleus:problem:$1"/, "$name: $1") if $expected =~ / (.+)/;

    return $id;
}

for my $version ('--http1.1', '--http2') {
    answers('202', "$version, a key", '/events', $version, bearer($key));
    answers('202', "$version, a key, and what a proxy says", '/events', $version, bearer($key), '-H', 'X-Forwarded-For: 192.0.2.1');
    answers('401 missing-credentials', "$version, nothing", '/events', $version);
    answers('202', "$version, in the query", "/query?a=b&key=$key->{key}&KEY=$agent->{key}&c=d", $version);
    answers('401 damaged-key', "$version, a wrong one in the query", "/query?key=nuc_000000000000_" . 'x' x 49, $version);

    my $id = answers('202', "$version, a certificate that stands for a key", '/events', $version, with('agent'));
    my ($event) = $t->wait_for("$version, the event is stored", 10, sub { grep { $_->{id} eq $id } $t->events }) ?
        grep { $_->{id} eq $id } $t->events : ();
    is($event->{tenant}, 'south', "$version, under the tenant of that key");
    is($event->{key_id}, $agent->{id}, "$version, with its id");

    answers('401 unknown-certificate', "$version, a certificate of the authority, but of no key", '/events', $version, with('stranger'));
    answers('202', "$version, a key counts before a certificate", '/events', $version, with('stranger'), bearer($key));
    is((curl('/events', $version, with('impostor')))[0], '400', "$version, nginx refuses a certificate of another authority");
}

$registry->must('key', 'revoke', $agent->{id});
answers('403 key-revoked', 'a certificate of a revoked key', '/events', with('agent'));

is($t->stop('nginx'), 0, 'nginx ends');

my $log = $t->read_file('tls.log');
my $hidden = '\*{66}';
is(scalar(() = $log =~ m{^POST /query\?a=b&key=$hidden&KEY=$hidden&c=d HTTP/[12]\.[01]\|/query\?a=b&key=$hidden&KEY=$hidden&c=d\|a=b&key=$hidden&KEY=$hidden&c=d\|202}mg),
    2, 'keys in the query are hidden, with both versions, however often they are there');

for my $file (qw(tls.log access.log error.log)) {
    my $text = $t->read_file($file);
    ok(length $text, "$file is there");
    is(index($text, substr $_->{key}, 17), -1, "$file has no secret") for $key, $agent;
}

$t->finish;
done_testing;
