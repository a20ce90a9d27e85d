#!/usr/bin/perl

# Beside nginx's other modules: what they do around a nucleus location works, and what reaches it
# through them is stored.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Uncompress::Gunzip qw(gunzip);
use MIME::Base64 qw(encode_base64);
use Test::More;

use Nucleus::Test;

my $t = Nucleus::Test->new(
    user   => 'nobody nogroup',
    http   => <<'END',
        limit_req_zone  $uri zone=req:1m rate=1r/m;
        limit_conn_zone $server_port zone=conn:1m;
        limit_req_zone  $server_port zone=slow:1m rate=5r/s;
        log_format      test '$request_uri $status $request_length "$sent_http_nucleus_durability" '
                             '"$sent_http_retry_after" $request_id';
END
    server => 'access_log %%DIR%%/test.access test; client_max_body_size 2m;',
    locations => <<'END',
        # copies of what another location takes
        location = /app      { mirror /copy; client_body_buffer_size 1k; proxy_pass http://127.0.0.1:%%PORT%%/up; }
        location = /app2     { mirror /copy; mirror /copy; proxy_request_buffering off;
                               proxy_pass http://127.0.0.1:%%PORT%%/up; }
        location = /up       { client_max_body_size 0; return 200 "up\n"; }
        location = /copy     { internal; nucleus auto; nucleus_stream copies; }

        location = /req      { nucleus auto; limit_req zone=req; limit_req_status 429; }
        location = /conn     { nucleus auto; limit_conn conn 1; }
        location = /yes      { nucleus auto; auth_request /auth-yes; }
        location = /no       { nucleus auto; auth_request /auth-no; }
        location = /ask      { nucleus auto; auth_basic test; auth_basic_user_file %%DIR%%/nobody; }
        location = /wait     { nucleus auto; limit_req zone=slow burst=10; }
        location = /late     { nucleus auto; auth_basic test; auth_basic_user_file %%DIR%%/nobody; auth_delay 500ms; }
        location = /either   { nucleus auto; satisfy any; allow 127.0.0.2; deny all;
                               auth_basic test; auth_basic_user_file %%DIR%%/nobody; }
        location = /here     { nucleus auto; satisfy any; allow 127.0.0.1; deny all;
                               auth_basic test; auth_basic_user_file %%DIR%%/nobody; }
        location = /both     { nucleus auto; satisfy all; allow 127.0.0.1; deny all;
                               auth_basic test; auth_basic_user_file %%DIR%%/nobody; }

        # what is done after the answer
        location = /after    { proxy_pass http://127.0.0.1:%%PORT%%/up; post_action /done; }
        location = /done     { internal; nucleus auto; nucleus_stream after; }
        location = /then     { nucleus auto; post_action @then; }
        location @then       { nucleus auto; nucleus_stream after; }
        location = /logs     { nucleus auto; post_action /up; }

        location = /one      { nucleus auto; keepalive_requests 1; }
        location = /addition { nucleus auto; add_before_body /text; add_after_body /text; addition_types *; }
        location = /text     { internal; return 200 "text\n"; }
        location = /on       { nucleus auto; client_body_in_file_only on; }

        location = /auth-yes { internal; return 204; }
        location = /auth-no  { internal; return 403; }
        location = /any      { nucleus auto; satisfy any; deny all; auth_request /auth-yes; }
        location = /loop     { nucleus auto; auth_request /events; }

        location = /gzip     { nucleus auto; gzip on; gzip_min_length 0; gzip_types *; limit_except POST { deny all; } }
        location = /ssi      { nucleus auto; ssi on; ssi_types *; sub_filter '"status"' '"STATUS"'; sub_filter_types *; }
        location = /header   { nucleus auto; add_header X-Always yes always; add_header X-Good yes; }
        location = /limits   { nucleus auto; limit_except GET POST { deny all; } }
        location = /slow     { nucleus auto; limit_rate 1k; }

        location /outer      { nucleus auto; location = /outer/inner { return 200 "inner\n"; } }
        location = /included { ssi on; default_type text/html; return 200 '[<!--# include virtual="/health" -->]'; }
END
);

$t->write_file('nobody', "somebody:{PLAIN}secret\n");
$t->start;

my $number = 0;
my %want;

sub event {
    my ($size, $stream) = @_;

    my $id = 'n-' . ++$number;
    $want{$id} = $stream // 'json';

    return sprintf '{"id":"%s","x":"%s"}', $id, 'x' x $size;
}

# ---- nginx's processes are another user's

my @owner = Nucleus::Test::is_root() && !$ENV{NUCLEUS_TEST_NAMESPACE} ? ((getpwnam 'nobody')[2]) : ($>);
is((stat $t->queue)[4], $owner[0], 'the queue belongs to the user of nginx\'s processes');
is((stat $t->queue)[2] & 0007, 0, 'and others may not look into it');
$t->is_receipt($t->post('/events', event(10)), 1, 'an event');

# ---- mirror

for my $size (10, 5000, 400_000, 900_000) {
    is($t->post('/app', event($size, 'copies'))->status, 200, "mirror: the location's own answer, $size bytes");
}

# two copies have the same rid: once repeats are recognised, one is enough
is($t->post('/app2', '{"id":"twice"}')->status, 200, 'two copies');

is($t->post('/app', '{"bad')->status, 200, 'a copy that is refused is nobody\'s trouble');
is($t->get('/app')->status, 200, 'nor one of a GET');

for my $at (1 .. 20) {
    my $c = $t->client;
    $c->send(Nucleus::Client::text('POST', '/app', [ 'Content-Type' => 'application/json' ], event(3000, 'gone')));
    $at % 2 ? $c->reset : $c->close;
}

# ---- limits and access

$t->is_receipt($t->post('/req', event(10)), 1, 'limit_req: the first');
$t->is_problem($t->post('/req', '{"id":"never"}'), 429, 'too-many-requests', {}, 'limit_req: the second');

{
    my $c = $t->client;
    $c->send(Nucleus::Client::text('POST', '/conn', [ 'Content-Type' => 'application/json',
        'Content-Length' => 100 ]) . '{');
    $t->wait_for('limit_conn: the first waits', 10, sub { $t->post('/conn', '{"id":"once"}')->status == 503 });
    $t->is_problem($t->post('/conn', '{"id":"never"}'), 503, 'unavailable', {}, 'limit_conn: one too many');
    $c->reset;
}

$t->is_receipt($t->post('/yes', event(10_000)), 1, 'auth_request: yes');
$t->is_receipt($t->post('/any', event(10_000)), 1, 'satisfy any');
$t->is_problem($t->post('/no', '{"id":"never"}'), 403, 'forbidden', {}, 'auth_request: no');
my $r = $t->post('/ask', '{"id":"never"}');
$t->is_problem($r, 401, 'unauthorized', {}, 'auth_basic');
is($r->header('WWW-Authenticate'), 'Basic realm="test"', 'with its WWW-Authenticate');
$t->is_problem($t->get('/limits'), 405, 'method-not-allowed', {}, 'limit_except lets it pass');
$t->is_problem($t->request('PUT', '/limits', [], '{}'), 403, 'forbidden', {}, 'limit_except');

{
    my @secret = (headers => [ Authorization => 'Basic ' . encode_base64('somebody:secret', '') ]);
    my @wrong = (headers => [ Authorization => 'Basic ' . encode_base64('somebody:wrong', '') ]);

    for my $uri (qw(/ask /either /here /both /late)) {
        $t->is_receipt($t->post($uri, event(10), @secret), 1, "$uri: with a password");
    }

    $t->is_problem($t->post($_, '{"id":"never"}', @wrong), 401, 'unauthorized', {}, "$_: with a wrong one")
        for qw(/ask /either /both /late);
    $t->is_receipt($t->post('/here', event(10)), 1, 'satisfy any: by address');
    $t->is_problem($t->post('/either', '{"id":"never"}'), 401, 'unauthorized', {}, 'satisfy any: by neither');
    $t->is_problem($t->post('/both', '{"id":"never"}'), 401, 'unauthorized', {}, 'satisfy all: by address alone');
}

# what limit_req makes wait is taken in the end; one of them goes away while it waits
{
    my @waiting = map { my $c = $t->client; $c->send(Nucleus::Client::text('POST', '/wait', [ 'Content-Type' => 'application/json' ],
            event($_ * 1000, $_ == 3 ? 'gone' : 'json'))); $c } 1 .. 5;
    (splice @waiting, 2, 1)->reset;
    my @good = grep { my $answer = $_->response; $answer && $answer->status == 202 } @waiting;
    is(@good, 4, 'limit_req: those that waited');
}

# ---- after the answer

for my $size (10, 5000) {
    is($t->post('/after', event($size, 'after'))->status, 200, "post_action: the location's own answer, $size bytes");
}

# nginx has closed the file that it was in
is($t->post('/after', '{"id":"never","x":"' . 'x' x 100_000 . '"}')->status, 200, 'post_action: a body that is gone is refused');

is($t->post('/after', '{"bad')->status, 200, 'post_action: one that is refused is nobody\'s trouble');
$t->is_receipt($t->post('/logs', event(10)), 1, 'post_action of a nucleus location');

# stored by the location, then by what follows it
is($t->post('/then', '{"id":"twice-after"}')->status, 202, 'post_action: from one to another');

# ---- connections and bodies

{
    my $c = $t->client;
    $c->send(join '', map { Nucleus::Client::text('POST', '/one', [ 'Content-Type' => 'application/json' ], $_) }
            event(10), '{"id":"never"}');
    my $answer = $c->response;
    $t->is_receipt($answer, 1, 'keepalive_requests 1');
    is($answer && $answer->header('Connection'), 'close', 'which it says');
    ok($c->closed(20), 'and the connection ends');
    $c->close;
}

for my $size (0, 10, 5000, 400_000) {
    $t->is_receipt($t->post('/on', event($size)), 1, "client_body_in_file_only on, $size bytes");
}

# a subrequest, which is a GET, gets 405, which auth_request takes for a failure
$t->is_problem($t->post('/loop', '{"id":"never"}'), 500, 'internal-error', {},
    'a subrequest to a nucleus location');

# ---- filters

# nginx compresses 200, 403 and 404
$r = $t->request('PUT', '/gzip', [ 'Accept-Encoding' => 'gzip' ], '{}');
is($r->status, 403, 'gzip: a problem');
is($r->header('Content-Encoding'), 'gzip', 'compressed');
my $packed = $r->body;
gunzip(\$packed => \my $text);
like($text // '', qr/^\{"type":"urn:nucleus:problem:forbidden".*\}\r\n\z/s, 'and whole');
$t->is_receipt($t->post('/gzip', event(10), headers => [ 'Accept-Encoding' => 'gzip' ]), 1, 'gzip: a receipt');

$t->is_receipt($t->post('/ssi', event(10)), 1, 'ssi and sub_filter: a receipt');
$r = $t->post('/ssi', '{');
like($r->body, qr/"STATUS":400.*\}\r\n\z/s, 'ssi and sub_filter: a problem, which they may change');

$r = $t->post('/header', event(10));
is(join(' ', map { $r->header($_) // 'no' } qw(X-Always X-Good)), 'yes no',
    'add_header: a receipt (nginx does not count 202)');
$r = $t->post('/header', '{');
is(join(' ', map { $r->header($_) // 'no' } qw(X-Always X-Good)), 'yes no', 'add_header: a problem');

$r = $t->post('/addition', event(10));
is($r->status, 202, 'addition: taken');
like($r->body, qr/\{"accepted":1,.*\}\r\n/, 'addition: with its receipt');
$r = $t->post('/addition', '{');
is($r->status, 400, 'addition: refused');
like($r->body, qr/\{"type":"urn:nucleus:problem:invalid-json".*\}\r\n/, 'addition: with the problem');

$t->is_receipt($t->post('/slow', event(10)), 1, 'limit_rate');
is($t->get('/included')->body, qq([{"status":"ready"}\r\n]), 'health by a subrequest');

{
    # receipts of a client that reads slowly
    my $c = $t->client(rcvbuf => 4096);
    my $text = join '', map { Nucleus::Client::text('POST', '/events', [ 'Content-Type' => 'application/json' ],
            '[' . join(',', map { event(10) } 1 .. 500) . ']') } 1 .. 20;
    $c->send($text);
    my $good = grep { my $answer = $c->response; $answer && $answer->status == 202 } 1 .. 20;
    is($good, 20, 'receipts for a client that reads slowly');
    $c->close;
}

# ---- all that was asked for, and nothing else

my @events = $t->wait_events(sub {
    my %seen = map { $_->{id} => 1 } @_;
    return $seen{twice} && $seen{'twice-after'} && !grep { !$seen{$_} && $want{$_} ne 'gone' } keys %want;
});
my %count;
$count{ $_->{id} }++ for @events;

like(delete $count{twice}, qr/^[12]$/, 'two copies of one');
like(delete $count{'twice-after'}, qr/^[12]$/, 'post_action: one or two of one');
is(scalar(grep { $count{$_} != 1 && $_ ne 'once' } keys %count), 0, 'nothing else twice');
is(scalar(grep { $_->{stream} ne ($want{ $_->{id} } eq 'gone' ? 'copies' : $want{ $_->{id} }) } grep { $want{ $_->{id} } } @events), 0,
    'each in its stream');
is(join(' ', grep { !$want{$_} && $_ ne 'once' } sort keys %count), '', 'and no other');
is(scalar(grep { Nucleus::Store::sha256($_) ne $_->{data_sha256} } @events), 0, 'unchanged');

my $access = $t->read_file('test.access');
like($access, qr{^/events 202 \d+ "log" "-" [0-9a-f]{32}$}m, 'the access log has it');
like($access, qr{^/no 403 \d+ "-" "-" [0-9a-f]{32}$}m, 'and what is refused');
my %request_id = map { $_->{request_id} => 1 } @events;
is(join("\n", grep { !$request_id{$_} } $access =~ /^\S+ 202 \d+ "log" "-" (\S+)$/mg), '', 'by $request_id it leads to the events');

$t->finish;
done_testing;
