#!/usr/bin/perl

# Keys over HTTP/2, plain and with TLS: every form of them, refusals and limits with their fields, a key
# that is revoked while a body is on its way.  t/auth_tls.t has certificates and the key in the query,
# t/auth_slow.t wrong keys that wait.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use MIME::Base64 qw(encode_base64);
use Test::More;

use Nucleus::Http2;
use Nucleus::Test;

my $t = Nucleus::Test->new(keys => 1);
my ($dir, $plain, $tls) = ($t->dir, $t->port2, $t->free_port);

# since 1.25.1 it is a directive
my ($listen, $http2) = Nucleus::Test::nginx_has('version: nginx/1\.2[234]\.') ? (' http2', '') : ('', 'http2 on;');

$t->write_confs(http => <<"END");
    log_format keys '\$request|\$status|\$nucleus_key_id';

    server {
        listen 127.0.0.1:$plain$listen;
        listen 127.0.0.1:$tls ssl$listen;
        $http2
        ssl_certificate     $dir/cert.pem;
        ssl_certificate_key $dir/key.pem;
        nucleus_limit       off;
        nucleus_auth_delay  0;
        access_log          $dir/keys.log keys;

        location = /events  { nucleus auto; }
        location = /query   { nucleus auto; nucleus_auth_argument key; }
        location = /limited { nucleus auto; nucleus_limit key rate=1r/s burst=2; nucleus_limit tenant rate=1e/s burst=100; }
    }
END

$t->make_certificate;

my $registry = $t->registry;
my $key = $registry->key(tenant => 'north');
my %gone = map { $_ => $registry->key(tenant => 'west') } qw(plain TLS);
my %limited = map { $_ => $registry->key(tenant => "east-\L$_") } qw(plain TLS);
$t->start;

my $number = 0;
my %stored;

sub event { return sprintf '{"id":"h2-%d"}', ++$number }
sub basic { return [ Authorization => 'Basic ' . encode_base64("$_[0]:$_[1]", '') ] }

# Status, fields and body of one request.  What is refused before its body is read has none: then nginx resets
# the stream, which curl 7.88 reports instead of the answer.
sub curl {
    my ($how, $uri, $headers, $body) = @_;

    my ($scheme, $port, @way) = $how eq 'TLS' ? ('https', $tls, "cacert = $dir/cert.pem", 'http2') : ('http', $plain, 'http2-prior-knowledge');
    my @fields = ('Content-Type' => 'application/json', @$headers);

    push @way, "url = \"$scheme://127.0.0.1:$port$uri\"", 'data = "' . ($body =~ s/"/\\"/gr) . '"';

    while (my ($name, $value) = splice @fields, 0, 2) {
        push @way, 'header = "' . ("$name: $value" =~ s/"/\\"/gr) . '"';
    }

    my $file = $t->write_file('curl.conf', join '', map { "$_\n" } @way);
    my (undef, $out) = $t->run([ qw(curl -s -S -i -m 30 -K), $file ]);
    my ($status, $fields, $said) = $out =~ m{\AHTTP/2 (\d+) *\r\n(.*?)\r\n\r\n(.*)\z}s or return { status => 0, out => $out };

    return { status => $status, out => $out, body => $said, map { /^([\w-]+): (.*)$/ ? ($1 => $2) : () } split /\r\n/, $fields };
}

sub let_in {
    my ($name, $how, $uri, $headers) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $r = curl($how, $uri, $headers, event());
    is($r->{status}, 202, "$how: $name") or diag($r->{out});
    $stored{"h2-$number"} = $key;
}

sub refused {
    my ($name, $how, $status, $problem, $challenge, $uri, $headers) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $r = curl($how, $uri, $headers, '');
    is($r->{status}, $status, "$how: $name") or diag($r->{out});
    is($r->{'content-type'}, 'application/problem+json', "$how: $name: a problem");
    like($r->{body}, qr/"urn:nucleus:problem:$problem"/, "$how: $name: $problem");
    like($r->{'www-authenticate'} // 'none', $challenge, "$how: $name: WWW-Authenticate");
    is(index($r->{out}, substr $key->{key}, 17, 43), -1, "$how: $name: the answer does not have the secret");
}

my $ask = qr/^Bearer realm="nucleus", Basic realm="nucleus", charset="UTF-8"$/;
my $bad = qr/^Bearer realm="nucleus", error="invalid_token", Basic/;
my $secret = substr $key->{key}, 17;
(my $mistyped = $key->{key}) =~ s/(.)$/$1 eq 'a' ? 'b' : 'a'/e;

for my $how (qw(plain TLS)) {
    let_in('Bearer', $how, '/events', $key->{bearer});
    let_in('a bare Authorization', $how, '/events', [ Authorization => $key->{key} ]);
    let_in('X-API-Key', $how, '/events', [ 'X-API-Key' => $key->{key} ]);
    let_in('Basic, id and secret', $how, '/events', basic($key->{id}, $secret));
    let_in('Basic, id and key', $how, '/events', basic($key->{id}, $key->{key}));
    let_in('Basic, the key as user', $how, '/events', basic($key->{key}, ''));
    let_in('Authorization for somebody else, and X-API-Key', $how, '/events',
        [ @{ basic('somebody', 'else') }, 'X-API-Key' => $key->{key} ]);
    let_in('in the query', $how, "/query?key=$key->{key}", []);

    refused('nothing', $how, 401, 'missing-credentials', $ask, '/events', []);
    refused('another scheme', $how, 401, 'unsupported-scheme', $ask, '/events', [ Authorization => 'Digest username="a"' ]);
    refused('no key', $how, 401, 'malformed-credentials', $bad, '/events', [ Authorization => 'Bearer abc' ]);
    refused('mistyped', $how, 401, 'damaged-key', $bad, '/events', [ Authorization => "Bearer $mistyped" ]);

    # ---- limits

    my $over;
    my $taken = curl($how, '/limited', $limited{$how}{bearer}, event());
    is($taken->{status}, 202, "$how: within the limit") or diag($taken->{out});
    $t->wait_for("$how: 429", 20, sub { $over = curl($how, '/limited', $limited{$how}{bearer}, ''); return $over->{status} == 429 });

    for my $r ($taken, $over) {
        is($r->{'ratelimit-policy'},
            '"key-requests";q=2;w=2;nucleus-rate=1, "tenant-events";q=100;qu="events";w=100;nucleus-rate=1',
            "$how, $r->{status}: RateLimit-Policy");
        like($r->{ratelimit}, qr/^"key-requests";r=[012];t=\d+, "tenant-events";r=\d+;t=\d+$/, "$how, $r->{status}: RateLimit");
    }

    like($over->{'retry-after'}, qr/^[12]$/, "$how, 429: Retry-After");
    is($taken->{'retry-after'}, undef, "$how, 202: none");
    like($over->{body}, qr/"urn:nucleus:problem:rate-limited".*"violated-policies":\["key-requests"\]/, "$how, 429: the policy");
}

# ---- where there is no TLS

for my $name (qw(X-Forwarded-For Via)) {
    refused("what a proxy adds, $name", 'plain', 403, 'tls-required', qr/^none$/, '/events', [ @{ $key->{bearer} }, $name => '192.0.2.1' ]);
    let_in("what a proxy adds, $name", 'TLS', '/events', [ @{ $key->{bearer} }, $name => '192.0.2.1' ]);
}

# ---- revoked while bodies are on their way, beside another key's of the same connection

{
    my ($gone, $body) = ($gone{plain}, event());
    my $h = Nucleus::Http2->new(port => $plain);
    my %id = map { $_->{id} => $h->start('/events', headers => [ authorization => $_->{bearer}[1] ]) } $gone, $key;
    my $half = length($body) / 2;

    $stored{"h2-$number"} = $key;
    $h->send_data($_, substr $body, 0, $half) for values %id;
    is($h->answer($h->open('/events', event(), headers => [ authorization => $key->{bearer}[1] ]))->{status}, 202,
        'a stream behind them: nginx has read their halves');
    $stored{"h2-$number"} = $key;

    my ($status, $out) = $registry->ctl('key', 'revoke', $gone->{id});
    is($status, 0, 'revoke returns 0') or diag($out);

    $h->send_body($_, substr $body, $half) for values %id;
    my $r = $h->answer($id{ $gone->{id} });
    is($r->{status}, 403, 'a body on its way is refused');
    like($r->{body}, qr/:key-revoked"/, 'as revoked');
    is($h->answer($id{ $key->{id} })->{status}, 202, 'that of another key is not');
    is($h->answer($h->open('/events', event(), headers => [ authorization => $gone->{bearer}[1] ]))->{status}, 403, 'afterwards');
    $h->close;
}

$registry->must('key', 'revoke', $gone{TLS}{id});
refused('revoked', 'TLS', 403, 'key-revoked', qr/^none$/, '/events', $gone{TLS}{bearer});

# ---- what is stored and logged

my @events = grep { $_->{tenant} !~ /^east/ } $t->wait_events(sub {
    my %seen = map { $_->{id} => 1 } @_;
    return !grep { !$seen{$_} } keys %stored;
});
is(join(' ', sort map { $_->{id} } @events), join(' ', sort keys %stored), 'what was let in is stored, and nothing else');
is(scalar(grep { $_->{key_id} ne $stored{ $_->{id} }{id} } @events), 0, 'with the id of its key');
is($t->stop('nginx'), 0, 'nginx ends');

is(scalar(() = $t->read_file('keys.log') =~ m{^POST /query\?key=\*{66} HTTP/2\.0\|202\|$key->{id}$}mg), 2, 'the key in the query is hidden');

for my $file (qw(keys.log access.log error.log)) {
    my $text = $t->read_file($file);
    ok(length $text, "$file is there");
    is(index($text, substr $_->{key}, 17, 43), -1, "$file has no secret") for $key, values %gone, values %limited;
}

$t->finish;
done_testing;
