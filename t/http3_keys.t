#!/usr/bin/perl

# Keys over HTTP/3: every form of them, refusals and limits with their fields, the key in the query, wrong
# keys that wait, a key that is revoked while a body is on its way.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use MIME::Base64 qw(encode_base64);
use Test::More;

use Nucleus::Http3;
use Nucleus::Test;

Nucleus::Http3::need;

my $t = Nucleus::Test->new(keys => 1);
my $dir = $t->dir;
my $port = $t->port2;

$t->write_confs(http => <<"END");
    log_format keys '\$request|\$request_uri|\$args|\$status|\$nucleus_key_id';

    server {
        listen 127.0.0.1:$port quic;
        ssl_certificate        $dir/cert.pem;
        ssl_certificate_key    $dir/key.pem;
        ssl_client_certificate $dir/agent.pem;
        ssl_verify_client      optional;
        nucleus_limit          off;
        nucleus_auth_delay     0;
        access_log             $dir/keys.log keys;

        location = /events  { nucleus auto; }
        location = /query   { nucleus auto; nucleus_auth_argument key; }
        location = /limited { nucleus auto; nucleus_limit key rate=1r/s burst=2; nucleus_limit tenant rate=1e/s burst=100; }
        location = /slow    { nucleus auto; nucleus_auth_delay 2s; }
        location = /slower  { nucleus auto; nucleus_auth_delay 60s; }
    }
END

$t->make_certificate;

my ($made, $said) = $t->run([ qw(openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=agent),
    '-keyout', "$dir/agent.key", '-out', "$dir/agent.pem" ]);
die "openssl failed: $said\n" if $made != 0;

my $registry = $t->registry;
my $key = $registry->key(tenant => 'north');
my $agent = $registry->key(tenant => 'south', certificate => "$dir/agent.pem");
my $limited = $registry->key(tenant => 'east');
my $gone = $registry->key(tenant => 'west');
my $wrong = [ Authorization => 'Bearer nuc_000000000000_' . 'x' x 49 ];
$t->start;

my $h = Nucleus::Http3->new($t, $port);
my ($nginx) = $t->nginx_workers;
my $number = 0;
my %stored;

sub event { return sprintf '{"id":"h3-%d"}', ++$number }
sub basic { return [ Authorization => 'Basic ' . encode_base64("$_[0]:$_[1]", '') ] }

# It must be taken and, under the key, stored.
sub let_in {
    my ($name, $with, $uri, $headers, @args) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my ($r) = $h->post([$uri], event(), headers => $headers, @args);
    is($r->{status}, 202, $name) or diag(substr $r->{out}, -2000);
    $stored{"h3-$number"} = $with;

    return $r;
}

sub refused {
    my ($name, $status, $problem, $challenge, $uri, $headers, @args) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my ($r) = $h->post([$uri], event(), headers => $headers, @args);
    is($r->{status}, $status, $name) or diag(substr $r->{out}, -2000);
    is($r->{'content-type'}, 'application/problem+json', "$name: a problem");
    like($r->{body}, qr/"urn:nucleus:problem:$problem"/, "$name: $problem");
    like($r->{'www-authenticate'} // 'none', $challenge, "$name: WWW-Authenticate");
    is(index(join(' ', map { $r->{$_} } grep { $_ ne 'out' } keys %$r), substr $key->{key}, 17, 43), -1,
        "$name: the answer does not have the secret");
}

# ---- forms

my $secret = substr $key->{key}, 17;

let_in('Bearer', $key, '/events', $key->{bearer});
let_in('a bare Authorization', $key, '/events', [ Authorization => $key->{key} ]);
let_in('X-API-Key', $key, '/events', [ 'X-API-Key' => $key->{key} ]);
let_in('Basic, id and secret', $key, '/events', basic($key->{id}, $secret));
let_in('Basic, id and key', $key, '/events', basic($key->{id}, $key->{key}));
let_in('Basic, the key as user', $key, '/events', basic($key->{key}, ''));
let_in('Authorization for somebody else, and X-API-Key', $key, '/events', [ @{ basic('somebody', 'else') }, 'X-API-Key' => $key->{key} ]);
let_in('in the query, twice', $key, "/query?a=b&key=$key->{key}&KEY=$agent->{key}&c=d", []);
let_in('a certificate that stands for a key', $agent, '/events', [], args => [ "--cert=$dir/agent.pem", "--key=$dir/agent.key" ]);
let_in('a key counts before a certificate', $key, '/events', $key->{bearer}, args => [ "--cert=$dir/agent.pem", "--key=$dir/agent.key" ]);

# HTTP/3 is TLS, whatever a proxy says
let_in("what a proxy adds, $_", $key, '/events', [ @{ $key->{bearer} }, $_ => '192.0.2.1' ]) for qw(X-Forwarded-For Via);

# ---- refusals

my $ask = qr/^Bearer realm="nucleus", Basic realm="nucleus", charset="UTF-8"$/;
my $bad = qr/^Bearer realm="nucleus", error="invalid_token", Basic/;

(my $mistyped = $key->{key}) =~ s/(.)$/$1 eq 'a' ? 'b' : 'a'/e;

refused('nothing', 401, 'missing-credentials', $ask, '/events', []);
refused('another scheme', 401, 'unsupported-scheme', $ask, '/events', [ Authorization => 'Digest username="a"' ]);
refused('no key', 401, 'malformed-credentials', $bad, '/events', [ Authorization => 'Bearer abc' ]);
refused('mistyped', 401, 'damaged-key', $bad, '/events', [ Authorization => "Bearer $mistyped" ]);
refused('in the query, where that is not allowed', 401, 'missing-credentials', $ask, '/events?key=nuc_000000000000_' . 'x' x 49, []);
refused('a wrong one in the query', 401, 'damaged-key', $bad, "/query?key=$mistyped", []);

# ---- limits, in streams of one connection

{
    my @answers = $h->post([ ('/limited') x 6 ], '{"id":"limited"}', headers => $limited->{bearer});
    my @taken = grep { $_->{status} == 202 } @answers;
    my @refused = grep { $_->{status} == 429 } @answers;

    cmp_ok(scalar @taken, '>=', 2, 'as many as the burst are taken');
    cmp_ok(scalar @refused, '>=', 1, 'and the next ones refused');
    is(@taken + @refused, 6, 'nothing else is answered');

    for my $r ($taken[0], $refused[0]) {
        is($r->{'ratelimit-policy'},
            '"key-requests";q=2;w=2;nucleus-rate=1, "tenant-events";q=100;qu="events";w=100;nucleus-rate=1',
            "$r->{status}: RateLimit-Policy");
        like($r->{ratelimit}, qr/^"key-requests";r=[012];t=\d+, "tenant-events";r=\d+;t=\d+$/, "$r->{status}: RateLimit");
    }

    like($refused[0]{'retry-after'}, qr/^[12]$/, '429: Retry-After');
    is($taken[0]{'retry-after'}, undef, '202: none');
    like($refused[0]{body}, qr/"urn:nucleus:problem:rate-limited"/, '429: rate-limited');
    like($refused[0]{body}, qr/"violated-policies":\["key-requests"\]/, '429: the policy');
}

# ---- wrong keys wait, and hold up no right one

is(($h->post(['/slow'], event(), headers => $wrong))[0]{status}, 401, 'a wrong key') for 1 .. 6;

{
    my @answers = $h->post([ ('/slow') x 4 ], event(), headers => $wrong);
    is(join(' ', map { $_->{status} } @answers), '401 401 401 401', 'wrong ones that wait, in streams of one connection');

    my ($command, %env) = $h->command([ ('/slower') x 3 ], event(), headers => $wrong);
    $t->spawn('slow', $command, %env);
    $t->wait_for('it has sent them', 20, sub { $t->read_file('slow.out') =~ /submit request headers/ || $t->ended('slow') });
    let_in('a right key meanwhile', $key, '/slower', $key->{bearer});
    ok(!$t->ended('slow'), 'the wrong ones wait still');
    $t->kill_all('slow');
    let_in('after a client that went away', $key, '/slower', $key->{bearer});
}

# ---- revoked while a body is on its way

for my $case ([ $gone, 403, 'key-revoked' ], [ $key, 202, 'accepted' ]) {
    my ($with, $status, $says) = @$case;
    my $gate = "$dir/gate-$status";
    my ($command, %env) = $h->command(['/events'], event(), headers => $with->{bearer}, gate => $gate);

    $stored{"h3-$number"} = $with if $status == 202;
    $t->spawn("half-$status", $command, %env);
    $t->wait_for('half of the body is there', 20, sub { -e "$gate.half" });

    my ($code, $out) = $registry->ctl('key', 'revoke', $gone->{id});
    is($code, 0, 'revoke returns 0') or diag($out);

    $t->write_file($gate, '');
    $t->wait_for('the client ends', 30, sub { $t->ended("half-$status") });
    my ($r) = Nucleus::Http3::answers($t->read_file("half-$status.out"), 1);
    is($r->{status}, $status, "a body on its way: $says") or diag(substr $r->{out}, -2000);
    like($r->{body}, qr/\b$says\b/, "a body on its way: it says $says");
}

refused('afterwards', 403, 'key-revoked', qr/^none$/, '/events', $gone->{bearer});
$registry->must('key', 'revoke', $agent->{id});
refused('its certificate', 403, 'key-revoked', qr/^none$/, '/events', [], args => [ "--cert=$dir/agent.pem", "--key=$dir/agent.key" ]);

# ---- what is stored and logged

my @events = grep { $_->{id} ne 'limited' } $t->wait_events(sub {
    my %seen = map { $_->{id} => 1 } @_;
    return !grep { !$seen{$_} } keys %stored;
});
is(join(' ', sort map { $_->{id} } @events), join(' ', sort keys %stored), 'what was let in is stored, and nothing else');
is(scalar(grep { $_->{key_id} ne $stored{ $_->{id} }{id} } @events), 0, 'with the id of its key');
is_deeply([ $t->nginx_workers ], [$nginx], 'it is the same process');
is($t->stop('nginx'), 0, 'nginx ends');

my $log = $t->read_file('keys.log');
my $hidden = '\*{66}';
my $query = "a=b&key=$hidden&KEY=$hidden&c=d";
like($log, qr{^POST /query\?$query HTTP/3\.0\|/query\?$query\|$query\|202\|$key->{id}$}m, 'the key in the query is hidden');

for my $file (qw(keys.log access.log error.log)) {
    my $text = $t->read_file($file);
    ok(length $text, "$file is there");
    is(index($text, substr $_->{key}, 17, 43), -1, "$file has no secret") for $key, $agent, $limited, $gone;
}

$t->finish;
done_testing;
