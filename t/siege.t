#!/usr/bin/perl

# Errors of all kinds, round after round: every problem type, clients that go away at every stage,
# timeouts, resets of HTTP/2 streams, a disk that fails.  Then the process's memory and descriptors
# are where they were.
#
#     NUCLEUS_SIEGE=full    1,000,000 requests (else 6,000)

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(time);

use Nucleus::Fault;
use Nucleus::Http2;
use MIME::Base64 ();
use Nucleus::Process;
use Nucleus::Test;

use constant MARGIN => 2 << 20;    # bytes of RSS, docs/operations.md

my $want = ($ENV{NUCLEUS_SIEGE} // '') eq 'full' ? 1_000_000 : 6_000;

# what nginx itself says, with the status as its path
my @statuses = (400, 401, 403, 404, 408, 411, 413, 414, 415, 418, 429, 431, 500, 501, 502, 503, 504);
my $returns = join "\n", map { "location = /return/$_ { nucleus auto; return $_; }" } @statuses;

my $t = Nucleus::Test->new(
    queue_options => 'min_free=1m segment=4m timeout=1s',
    locations     => <<"END",
        location = /small  { nucleus auto; nucleus_max_event_size 100; nucleus_max_events 2;
                             nucleus_max_event_depth 3; client_max_body_size 10k; }
        location = /stream { nucleus auto; nucleus_stream \$arg_s; }
        location = /tenant { nucleus auto; nucleus_tenant \$arg_s; }
        location = /denied { nucleus auto; deny all; }
        location = /fast   { nucleus auto; nucleus_limit address rate=1r/s; }
        location = /batch  { nucleus auto; nucleus_limit address rate=1e/s; }
        location = /keyed  { nucleus auto; nucleus_auth key; nucleus_auth_delay 0; nucleus_limit off; nucleus_stream \$arg_s; }
        location = /slow   { nucleus auto; nucleus_auth key; nucleus_auth_delay 10s; }
        $returns
END
);

# HTTP/2, and a server that has no patience
my $h2_port = $t->port2;
my $quick_port = $t->free_port;

my $registry = Nucleus::Registry->new($t);
my $snapshot = $registry->snapshot;

$t->write_confs(
    server => <<"END",
        listen 127.0.0.1:$h2_port http2;
        keepalive_requests 1000000;
        keepalive_timeout 2s;    # nginx keeps one that was reset while its body was passed over
END
    http => <<"END",
        nucleus_max_inflight 8m;
        nucleus_zone 64k;
        nucleus_registry $snapshot;
        access_log off;
        error_log %%DIR%%/error.log warn;

        server {
            listen 127.0.0.1:$quick_port;
            nucleus_auth off;
            client_header_timeout 100ms; client_body_timeout 100ms; send_timeout 100ms;
            location / { nucleus auto; }
        }
END
);

$t->expect_log(qr/\[crit\].*nucleus queue for \w+ bodies accepts no events: /);

my $fault = Nucleus::Fault->new($t);
$t->start_nginx(env => $fault->env) or die "nginx does not start\n";
$t->start_worker or die "nucleus-worker does not start\n";

my ($nginx) = $t->nginx_workers;
my @json = ('Content-Type' => 'application/json');
my $sent = 0;
my %seen;        # problem type => how often
my @wrong;

sub text { return Nucleus::Client::text(@_) }
sub post_text { my ($uri, $body, @headers) = @_; return text('POST', $uri, [ @json, @headers ], $body) }

# ---- keys, none of which is let in where it is used here

my $right = $registry->key(stream => 'a');
my $stranger = $registry->key;
$registry->must('key', 'revoke', $stranger->{id});
(my $damaged = $right->{key}) =~ s/(.)$/$1 eq 'a' ? 'b' : 'a'/e;

# of the right form, and of nobody
my $other = Nucleus::Registry->new($t, $t->dir . '/other')->key;

sub keyed {
    my ($key, @headers) = @_;
    return post_text('/keyed?s=b', '{}', Authorization => "Bearer $key", @headers);
}

my @keyed = (
    [ 'missing-credentials',   post_text('/keyed', '{}') ],
    [ 'unsupported-scheme',    post_text('/keyed', '{}', Authorization => 'Digest x="y"') ],
    [ 'malformed-credentials', keyed('x' x 5000) ],
    [ 'damaged-key',           keyed($damaged) ],
    [ 'mismatched-key',        post_text('/keyed', '{}',
            Authorization => 'Basic ' . MIME::Base64::encode_base64("000000000000:$right->{key}", '')) ],
    [ 'invalid-credentials',   keyed($other->{key}) ],
    [ 'tls-required',          keyed($right->{key}, Forwarded => 'for=192.0.2.1') ],
    [ 'key-expired',           keyed($registry->key(expires => '1s')->{key}) ],
    [ 'key-not-yet-valid',     keyed($registry->key('not-before' => '2100-01-01T00:00:00Z')->{key}) ],
    [ 'key-revoked',           keyed($stranger->{key}) ],
    [ 'tenant-disabled',       keyed($registry->key(tenant => 'gone')->{key}) ],
    [ 'insufficient-scope',    keyed($registry->key(scope => 'read')->{key}) ],
    [ 'address-not-allowed',   keyed($registry->key(from => '192.0.2.0/24')->{key}) ],
    [ 'stream-not-allowed',    keyed($right->{key}) ],
    [ 'quota-exceeded',        keyed($registry->key(tenant => 'small')->{key}) ],
);

$registry->must('tenant', 'disable', 'gone');
$registry->must(qw(tenant limits small --events-a-day 1));

my $full = $registry->key(tenant => 'full');
$registry->must(qw(tenant limits full --queue-bytes 300));

for my $kind (@keyed) {
    $t->wait_for("nginx answers $kind->[0]", 10, sub {
        my $c = $t->client;
        $c->send($kind->[1]);
        my $r = $c->response;
        return $r && $r->text =~ /:problem:$kind->[0]"/;
    });
}

# ---- kinds after which the connection goes on: [ problem, request ]

my @lasting = (
    @keyed,
    [ 'method-not-allowed',     text('GET', '/events', []) ],
    [ 'method-not-allowed',     text('DELETE', '/events', [], '{}') ],
    [ 'method-not-allowed',     text('POST', '/health', [@json], '{}') ],
    [ 'unsupported-media-type', text('POST', '/events', [], '{}') ],
    [ 'unsupported-media-type', text('POST', '/events', [ 'Content-Type' => 'text/plain' ], 'x' x 5000) ],
    [ 'unsupported-charset',    text('POST', '/events', [ 'Content-Type' => 'application/json;charset=latin1' ], '{}') ],
    [ 'unsupported-encoding',   post_text('/events', '{}', 'Content-Encoding' => 'gzip') ],
    [ 'empty-body',             post_text('/events', ' ' x 100) ],
    [ 'invalid-json',           post_text('/events', '{"a":tru}') ],
    [ 'invalid-json',           post_text('/events', '{"a":"' . 'x' x 50_000) ],
    [ 'not-an-object',          post_text('/events', '[{},1]') ],
    [ 'too-deep',               post_text('/small', '{"a":[[[]]]}') ],
    [ 'event-too-large',        post_text('/small', '{"a":"' . 'x' x 200 . '"}') ],
    [ 'too-many-events',        post_text('/small', '[{},{},{}]') ],
    [ 'batch-too-large',        post_text('/batch', '[{},{}]') ],
    [ 'forbidden',              post_text('/denied', '{}') ],
    map { [ undef, post_text("/return/$_", '{}') ] } grep { !/^(?:400|408|413|414|500|501)$/ } @statuses,
);

# ---- kinds that end it

my @ending = (
    [ 'invalid-stream',          post_text('/stream?s=..', '{}') ],
    [ 'invalid-tenant',          post_text('/tenant?s=A', '{}') ],
    [ 'invalid-idempotency-key', post_text('/events', '{}', 'Idempotency-Key' => '') ],
    [ 'body-too-large',          post_text('/small', 'x' x 20_000) ],
    [ 'body-too-large',          text('POST', '/small', [ @json, 'Transfer-Encoding' => 'chunked' ])
            . Nucleus::Client::chunked('x' x 20_000, 999) ],
    [ 'body-too-large',          text('POST', '/events', [ @json, 'Content-Length' => 7 << 20 ]) ],
    [ 'bad-request',             text('POST', '/events', [ @json, 'Transfer-Encoding' => 'chunked' ]) . "x\r\n" ],
    [ undef,                     text('POST', '/events', [ @json, 'Content-Length' => 'x' ]) ],
    [ undef,                     "nonsense\r\n\r\n" ],
    map { [ undef, post_text("/return/$_", '{}') ] } 400, 413, 414, 500, 501,
);

sub note_problem {
    my ($text, $want) = @_;

    my ($type) = $text =~ /urn:nucleus:problem:([a-z-]+)/;
    $seen{$type}++ if $type;
    push @wrong, ($want // 'a refusal') . ", and the answer is $text"
        if $text !~ m{^HTTP/1\.1 [45]\d\d } || (defined $want && $want ne ($type // ''));
}

# All of the lasting ones on one connection, without waiting for answers.
sub pipelined {
    my ($times) = @_;

    my $c = $t->client;

    for (1 .. $times) {
        $c->send(join '', map { $_->[1] } @lasting);

        for my $kind (@lasting) {
            my $r = $c->response;
            note_problem($r ? $r->text : 'none', $kind->[0]);
        }

        $sent += @lasting;
    }

    $c->close;
}

sub each_ending {
    for my $kind (@ending) {
        my $c = $t->client;
        $c->send($kind->[1]);
        my $r = $c->response;
        note_problem($r ? $r->text : 'none', $kind->[0]);
        $c->close;
        $sent++;
    }
}

# Clients that go away: in the head, in the body, behind it; with a reset, or by closing.
sub gone {
    my $whole = post_text('/events', '{"id":"gone","x":"' . 'x' x 20_000 . '"}');
    my $chunked = text('POST', '/events', [ @json, 'Transfer-Encoding' => 'chunked' ])
        . Nucleus::Client::chunked('{"x":"' . 'x' x 20_000, 1000);

    for my $part (substr($whole, 0, 30), substr($whole, 0, 10_000), substr($whole, 0, -1), $whole,
        substr($chunked, 0, 15_000))
    {
        for my $how (qw(reset close half_close)) {
            my $c = $t->client;
            $c->send($part);
            $c->$how;
            $c->response(timeout => 5) if $how eq 'half_close';
            $c->close if $how eq 'half_close';
            $sent++;
        }
    }
}

# Those that wait, until it ends their patience or ours.
sub timeouts {
    my $whole = post_text('/events', '{"id":"slow","x":"' . 'x' x 20_000 . '"}');
    my @c = map { my $c = $t->client(port => $quick_port); $c->send($_); $c }
        map { ('', 'POST', substr($whole, 0, 100), substr($whole, 0, 15_000)) } 1 .. 5;

    $_->closed(20) || $_->rest =~ m{^HTTP/1.1 408} || push @wrong, 'a connection that waits stays' for @c;
    $_->close for @c;
    $sent += @c;
}

sub http2 {
    my $h = Nucleus::Http2->new(port => $h2_port);
    my @ids = map { $h->open('/events', $_) } '{"a":', '1', '[', '{"id":"reset"}', ' ';
    $h->reset($ids[3]);

    for my $id (@ids[ 0, 1, 2, 4 ]) {
        my $s = $h->answer($id);
        push @wrong, 'no refusal over HTTP/2' if !$s || ($s->{status} // 0) != 400;
    }

    $h->reset($h->open('/events', '{}')) for 1 .. 20;
    $h->abort;
    $sent += 25;
}

# More on its way than one address may have.
sub busy {
    my @c = map { my $c = $t->client; $c->send(substr(post_text('/events', 'x' x 1_000_000), 0, -9)); $c } 1 .. 6;
    my $busy = 0;

    for my $c (@c) {
        my $r = $c->response(timeout => 0.2) or next;
        note_problem($r->text, 'busy');
        $busy++;
    }

    push @wrong, 'nobody is refused for memory' if !$busy;
    $_->reset for @c;
    $sent += @c;
}

# More often than an address may come; once a second the body is at fault.
sub limited {
    my $c = $t->client;
    $c->send(post_text('/fast', '[]') x 3);

    for (1 .. 3) {
        my $r = $c->response;
        note_problem($r ? $r->text : 'none');
        $sent++;
    }

    $c->close;
}

# The disk: what good requests get, until it is well again.
sub disk {
    my ($word, $times, @types) = @_;

    $fault->set($word);

    for (1 .. $times) {
        my $c = $t->client;
        $c->send(post_text('/events', '{"id":"disk"}') x 20);

        for (1 .. 20) {
            my $r = $c->response;
            my ($type) = ($r ? $r->text : '') =~ /urn:nucleus:problem:([a-z-]+)/ or next;
            $seen{$type}++;
            push @wrong, "$word: $type" if !grep { $_ eq $type } @types;
        }

        $sent += 20;
        $c->close;
    }

    $fault->clear;
    $t->wait_ready(30);
    $t->wait_for('events are taken again', 30, sub { $t->post('/events', '{"id":"well"}')->status == 202 });
}

sub disks {
    disk('space-none', 20, 'queue-full', 'outcome-unknown', 'queue-failed');    # the last on a slow machine
    disk('sync-fail', 10, 'outcome-unknown', 'queue-failed');
    disk('sync-stall', 5, 'outcome-unknown', 'queue-failed');
}

sub round {
    pipelined(20);
    each_ending();
    limited();
    gone();
    http2();
}

# Descriptors when nothing is under way, and memory.
sub measure {
    my ($most) = @_;

    $t->wait_for('all connections are closed', 30, sub { Nucleus::Process::descriptors($nginx) <= $most })
        if defined $most;

    return (Nucleus::Process::descriptors($nginx), Nucleus::Process::rss($nginx));
}

# ---- once, to have all that it needs open and allocated; a large body uses the second queue

$t->is_receipt($t->post('/events', '{"x":"' . 'x' x $_ . '"}'), 1, 'at first a good one') for 1, 400_000;
my ($before) = measure();

for (1 .. 2) {
    round();
    busy();
    timeouts();
    disks();
}

my ($files, $rss) = measure($before);
my $warm = $sent;

# ---- and again, and again

my $start = time;
my $rounds = 0;
my @course;        # RSS on the way

while ($sent < $warm + $want && @wrong < 20) {
    round();
    push @course, sprintf '%.2f', Nucleus::Process::rss($nginx) / (1 << 20)
        if ($sent - $warm) * 10 > $want * (@course + 1);
    next if $rounds++ % 20;
    busy();
    timeouts();
    disks() if $rounds % 400 == 1;
}

my ($files_after, $rss_after) = measure($files);

note(sprintf '%d requests in %.0f s, after %d to warm up: RSS %.2f MB, was %.2f; %d descriptors, were %d',
    $sent - $warm, time - $start, $warm, $rss_after / (1 << 20), $rss / (1 << 20), $files_after, $files);
note("RSS on the way, in MB: @course");
note(join ', ', map { "$_: $seen{$_}" } sort keys %seen);

is(scalar @wrong, 0, 'all were refused as they should be') or diag(join "\n", @wrong[ 0 .. ($#wrong < 9 ? $#wrong : 9) ]);
cmp_ok($files_after, '<=', $files, 'descriptors are where they were');
cmp_ok($rss_after, '<=', $rss + MARGIN, 'memory is where it was') if !Nucleus::Process::sanitized();

# more wrong keys at once than may wait; those that wait are left alone
{
    my @waiting = map { $t->client } 1 .. 540;
    $_->send(post_text('/slow', '{}', Authorization => "Bearer $other->{key}")) for @waiting;

    my $r = $waiting[-1]->response;
    note_problem($r ? $r->text : 'none', 'too-many-failures');
    $_->reset for @waiting;
}

# more than a tenant may have in the queue, before the worker has taken what was there
$t->wait_for('nginx answers tenant-queue-full', 20, sub {
    my $c = $t->client;
    $c->send(keyed($full->{key})) for 1 .. 2;
    $c->response;

    my $r = $c->response;
    note_problem($r->text) if $r && $r->status == 503;
    return $seen{'tenant-queue-full'};
});

# every problem type of the sources, but for what only nginx's start, or an error_page, brings about,
# 408, at which nginx closes the connection, and what needs a certificate
my $answer = $t->read_file("$Nucleus::Test::ROOT/ngx_nucleus_module/http/ngx_http_nucleus_answer.c");
my ($tables) = $answer =~ /^static const ngx_http_nucleus_problem_type_t  ngx_http_nucleus_types\[\](.*?)^ngx_int_t/ms;
my @types = grep { !/^(?:queue-starting|incomplete-body|request-timeout|registry-failed|unknown-certificate)$/ } ($tables // '') =~ /\{\s*\d+,\s*"([a-z-]+)",/g;
cmp_ok(scalar @types, '>', 30, 'the problem types are found');
is(join(' ', grep { !$seen{$_} } @types), '', 'every one was answered');

my @still = $t->nginx_workers;
is("@still", "$nginx", 'it is the same process');
$t->is_receipt($t->post('/events', '{"x":"' . 'x' x 1_000_000 . '"}'), 1, 'and takes events as before');

$t->finish;
done_testing;
