#!/usr/bin/perl
# API keys: who is let in by which form, who is not and what he is told, what composes with nginx's
# own access control, what a record and the logs say of a key.

use strict;
use warnings;

use FindBin;
use MIME::Base64 qw(encode_base64);
use Test::More;
use Time::HiRes qw(time);

use lib "$FindBin::Bin/lib";
use Nucleus::Test;

my $t = Nucleus::Test->new(
    keys   => 1,
    http   => <<'END',
    log_format auth '$request|$status|$nucleus_tenant|$nucleus_key_id|$nucleus_stream|$nucleus_events|$nucleus_rejected|$nucleus_durability|$nucleus_error';
    log_format copies '$request|$request_uri|$args|$status|$nucleus_key_id';
    map $nucleus_tenant $who { default "tenant $nucleus_tenant"; "" nobody; }
    limit_req_zone $nucleus_key_id zone=perkey:1m rate=1r/m;
END
    server => 'nucleus_auth_delay 0; access_log %%DIR%%/auth.log auth; add_header X-Who $who always;',
    locations => <<'END',
        location = /slow      { nucleus json; nucleus_auth_delay 1s; }
        location = /query     { nucleus json; nucleus_auth_argument api_key; }
        location = /open      { nucleus json; nucleus_auth off; nucleus_tenant open; }
        location = /any       { nucleus json; satisfy any; allow 127.0.0.1; deny all; }
        location = /any-key   { nucleus json; satisfy any; deny all; }
        location = /all       { nucleus json; deny all; }
        location = /limited   { nucleus json; limit_req zone=perkey; }
        location ~ ^/s/(?<s>[^/]+)$ { nucleus json; nucleus_stream $s; }
        location = /realip    { nucleus json; set_real_ip_from 127.0.0.1; real_ip_header X-Test-Address; nucleus_require_tls off; }
        location = /plain     { nucleus json; nucleus_require_tls off; }
        location = /first     { nucleus json; nucleus_auth_argument api_key; error_page 403 = /second; }
        location = /second    { nucleus json; }
        location = /copied    { access_log off; mirror /copy; proxy_pass http://127.0.0.1:%%PORT%%/broken; proxy_intercept_errors on; error_page 503 = @other; }
        location = /copy      { internal; nucleus json; nucleus_auth_argument api_key; log_subrequest on; access_log %%DIR%%/copies.log copies; }
        location = /broken    { access_log off; return 503; }
        location = /app       { access_log off; return 200 "$args\n"; }
        location @other       { access_log off; set $app http://127.0.0.1:%%PORT%%/app; proxy_pass $app?$args; }
        location = /nested    { nucleus json; if ($arg_x) { set $y 1; } }
END
);

my $registry = $t->registry;
my $key = $registry->key(tenant => 'north');
my $secret = substr $key->{key}, -49;

$t->start or BAIL_OUT('does not start');

my $number = 0;
sub event { return sprintf '{"id":"event-%d"}', ++$number }

sub send_to {
    my ($uri, @headers) = @_;
    return $t->post($uri, event(), headers => \@headers);
}

sub let_in {
    my ($r, $name) = @_;
    return $t->is_receipt($r, 1, $name);
}

sub basic { return (Authorization => 'Basic ' . encode_base64("$_[0]:$_[1]", '')) }

# ---- forms

let_in(send_to('/events', Authorization => "Bearer $key->{key}"), 'Bearer');
let_in(send_to('/events', Authorization => "bearer  $key->{key}"), 'the scheme is of any case');
let_in(send_to('/events', Authorization => $key->{key}), 'a bare Authorization');
let_in(send_to('/events', 'X-API-Key' => $key->{key}), 'X-API-Key');
let_in(send_to('/events', basic($key->{id}, $secret)), 'Basic, id and secret');
let_in(send_to('/events', basic($key->{id}, $key->{key})), 'Basic, id and key');
let_in(send_to('/events', basic($key->{key}, '')), 'Basic, the key as user');
let_in(send_to('/events', basic('somebody', 'else'), 'X-API-Key' => $key->{key}),
    'Authorization for somebody else, and X-API-Key');
let_in(send_to("/query?a=b&api_key=$key->{key}&c=d"), 'in the query, where the location allows it');

# ---- refusals

sub refused {
    my ($r, $status, $problem, $challenge) = @_;

    $t->is_problem($r, $status, $problem);
    my $said = $r->header('WWW-Authenticate') // '';

    if ($challenge) {
        like($said, $challenge, "$problem: WWW-Authenticate");
    }
    else {
        is($said, '', "$problem: no challenge");
    }

    unlike($r->text, qr/\Q$secret/, "$problem: the answer does not have the secret");
}

my $ask = qr/^Bearer realm="nucleus", Basic realm="nucleus", charset="UTF-8"$/;
my $bad = qr/^Bearer realm="nucleus", error="invalid_token", Basic/;

(my $mistyped = $key->{key}) =~ s/(.)$/$1 eq 'a' ? 'b' : 'a'/e;
my $stranger = Nucleus::Test->new(keys => 1);
my $foreign = $stranger->registry->key;

refused(send_to('/events'), 401, 'missing-credentials', $ask);
refused(send_to('/events', Authorization => 'Digest username="a"'), 401, 'unsupported-scheme', $ask);
refused(send_to('/events', Authorization => 'Bearer abc'), 401, 'malformed-credentials', $bad);
refused(send_to('/events', Authorization => "Bearer $mistyped"), 401, 'damaged-key', $bad);
refused(send_to('/events', basic('000000000000', $key->{key})), 401, 'mismatched-key', $bad);
refused(send_to('/events', Authorization => "Bearer $foreign->{key}"), 401, 'invalid-credentials', $bad);
refused(send_to("/events?api_key=$foreign->{key}"), 401, 'missing-credentials', $ask);
refused(send_to('/query?api_key='), 401, 'missing-credentials', $ask);

my $expired = $registry->key(expires => '1s');
my $later = $registry->key('not-before' => '2100-01-01T00:00:00Z');
my $reader = $registry->key(scope => 'read');
my $near = $registry->key(from => [ '127.0.0.0/8', '::1' ]);
my $far = $registry->key(from => [ '192.0.2.0/24', '2001:db8::/32' ]);
my $one = $registry->key(stream => [ 'quiz', 'login' ]);
my $gone = $registry->key(tenant => 'south');

sub bearer { return (Authorization => "Bearer $_[0]{key}") }

# what is written now is used within a second
$t->wait_for('the new keys are known', 5, sub { send_to('/events', bearer($gone))->status == 202 });

$t->wait_for('a key expires', 5, sub { send_to('/events', bearer($expired))->status == 401 });
refused(send_to('/events', bearer($expired)), 401, 'key-expired', $bad);
refused(send_to('/events', bearer($later)), 401, 'key-not-yet-valid', $bad);
refused(send_to('/events', bearer($reader)), 403, 'insufficient-scope', qr/error="insufficient_scope", scope="collect"/);
refused(send_to('/events', bearer($far)), 403, 'address-not-allowed');
let_in(send_to('/realip', bearer($far), 'X-Test-Address' => '192.0.2.7'), 'an address behind realip');
let_in(send_to('/realip', bearer($far), 'X-Test-Address' => '2001:db8::7'), 'IPv6 behind realip');
refused(send_to('/realip', bearer($near), 'X-Test-Address' => '192.0.2.7'), 403, 'address-not-allowed');
let_in(send_to('/s/quiz', bearer($one)), 'a stream of the key');
refused(send_to('/s/other', bearer($one)), 403, 'stream-not-allowed');
let_in(send_to('/s/other', bearer($key)), 'a key without streams has all');

let_in(send_to('/events', bearer($gone)), 'a key');
$registry->must('key', 'revoke', $gone->{id});
refused(send_to('/events', bearer($gone)), 403, 'key-revoked');

$registry->must('tenant', 'disable', 'default');
$t->wait_for('the tenant is disabled', 5, sub { send_to('/events', bearer($near))->status == 403 });
refused(send_to('/events', bearer($near)), 403, 'tenant-disabled');
$registry->must('tenant', 'enable', 'default');

# ---- wrong keys are answered ever more slowly, right ones are not

{
    my $wrong = sub { return $t->client(timeout => 60)->request('POST', '/slow',
        [ 'Content-Type' => 'application/json', bearer($foreign) ], event()) };
    my @took;

    for (1 .. 9) {
        my $begin = time;
        is($wrong->()->status, 401, 'a wrong key');
        push @took, time - $begin;
    }

    cmp_ok($took[5], '>=', 0.19, 'the sixth waits');
    cmp_ok($took[6], '>=', 0.39, 'the next one longer');
    cmp_ok($took[8], '>=', 0.99, 'up to the time that is configured');

    my $challenges = () = $wrong->()->text =~ /^www-authenticate:/mgi;
    is($challenges, 1, 'and it is challenged once');

    # one that waits does not hold up a right one of the same address
    my $waiting = $t->client;
    $waiting->send(Nucleus::Client::text('POST', '/slow',
            [ 'Content-Type' => 'application/json', bearer($foreign) ], event()));
    let_in(send_to('/slow', bearer($key)), 'a right key of the same address');
    is($waiting->response->status, 401, 'and then the wrong one is answered');

    # nor does a client that goes away leave anything behind
    my $gone = $t->client;
    $gone->send(Nucleus::Client::text('POST', '/slow',
            [ 'Content-Type' => 'application/json', bearer($foreign) ], event()));
    $gone->reset;
    let_in(send_to('/slow', bearer($key)), 'after a client that went away');
}

# ---- without TLS, from elsewhere

for my $header (qw(Forwarded Via X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Real-IP)) {
    refused(send_to('/events', bearer($key), $header => 'x'), 403, 'tls-required');
}

let_in(send_to('/plain', bearer($key), 'X-Forwarded-For' => '192.0.2.7'), 'nucleus_require_tls off');

# ---- beside nginx's own access control

let_in(send_to('/open'), 'nucleus_auth off');
refused(send_to('/any'), 401, 'missing-credentials', $ask);
let_in(send_to('/any', bearer($key)), 'satisfy any, with address and key');
let_in(send_to('/any-key', bearer($key)), 'satisfy any, the key suffices');
is(send_to('/any-key')->status, 401, 'satisfy any, neither');
is(send_to('/all', bearer($key))->status, 403, 'satisfy all, the address is denied');
let_in(send_to('/limited', bearer($key)), 'limit_req by the key');
is(send_to('/limited', bearer($key))->status, 503, 'limit_req refuses the second');
$t->wait_for('the default tenant is enabled', 5, sub { send_to('/events', bearer($near))->status == 202 });
let_in(send_to('/limited', bearer($near)), 'but not that of another key');
is(send_to('/events', bearer($key))->header('X-Who'), 'tenant north', 'map');
is(send_to('/events')->header('X-Who'), 'nobody', 'map, without a key');
let_in(send_to('/nested?x=1', bearer($key)), 'in an if');

# ---- the copy of a mirror takes the key from the query, and from its own log

{
    my $args = "a=b&api_key=$key->{key}&c=d";
    my $hidden = 'a=b&api_key=\*{66}&c=d';
    my $r = send_to("/copied?$args");
    is($r->body, "$args\n", 'what is mirrored still has its arguments when it is sent elsewhere');
    $t->wait_for('the copy is logged', 10, sub { $t->read_file('copies.log') =~ /\n/ });
    like($t->read_file('copies.log'), qr{^POST /copied\?$hidden HTTP/1\.1\|/copied\?$hidden\|$hidden\|202\|\Q$key->{id}\E$},
        'its copy is taken, and logged without the key');
}

my $get = $t->request('GET', '/events', []);
is($get->status, 401, 'authentication comes before the method');
is($t->request('GET', '/events', [ bearer($key) ])->status, 405, 'then the method');

# ---- what is stored, what is logged

my ($event) = grep { $_->{id} eq 'event-1' } $t->wait_events(1);
is($event->{tenant}, 'north', 'the record has the tenant of the key');
is($event->{key_id}, $key->{id}, 'and the key\'s id');

my $log = $t->read_file('auth.log');
like($log, qr{^POST /events HTTP/1.1\|202\|north\|\Q$key->{id}\E\|json\|1\|0\|log\|-$}m, 'variables of an accepted request');
like($log, qr{^POST /events HTTP/1.1\|401\|-\|-\|-\|0\|0\|-\|missing-credentials$}m, 'of a refused one');
like($log, qr{^POST /query\?a=b&api_key=\*{66}&c=d HTTP/1.1\|202}m, 'the key in the query is hidden');

is($t->stop($_), 0, "$_ ends") for qw(nginx worker);

my @files = grep { -f } glob($t->dir . '/*'), glob($t->dir . '/registry/*'), glob($t->queue . '/*'),
    glob($t->queue . '/*/*'), Nucleus::Store::files($t->store);

for my $kind (qw(error.log access.log registry.db registry.snapshot .ndjson)) {
    ok((grep { /\Q$kind\E$/ } @files), "there is $kind");
}

for my $file (@files) {
    my $text = $t->read_file($file);
    is(scalar(grep { index($text, $_) >= 0 } map { substr $_->{key}, 17, 43 } $key, $near, $far, $one, $gone), 0,
        "$file has no secret");
}

$t->finish;

$stranger->finish;
done_testing;
