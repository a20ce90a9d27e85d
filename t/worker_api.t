#!/usr/bin/perl

# The worker's local API: what it tells, its socket, bad requests, what it survives; and the books.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::UNIX;
use JSON::PP ();
use Socket qw(SOCK_STREAM);
use Test::More;

use Nucleus::Test;

my $API = 'unix:%%DIR%%/worker.sock';

# Prometheus' text as a hash: name and labels as they stand, to values.
sub parse {
    my ($text) = @_;

    my (%value, $family, @wrong);

    for my $line (split /\n/, $text) {
        if ($line =~ /^# (?:HELP|UNIT) \S+ \S/) {
            next;
        }
        if ($line =~ /^# TYPE (\S+) (?:counter|gauge|histogram)$/) {
            $family = $1;
            next;
        }
        if ($line =~ /^((\w+)(?:\{.*\})?) (-?[0-9.e+]+)$/ && index($2, $family) == 0 && !exists $value{$1}) {
            $value{$1} = $3;
            next;
        }
        push @wrong, $line if $line ne '# EOF';
    }

    is("@wrong", '', 'each line is a comment or a sample of its family, once') if @wrong;

    return \%value;
}

sub metrics {
    my ($t) = @_;

    my $r = $t->api('/metrics');

    return $r->status == 200 ? parse($r->body) : {};
}

# The value of a series, once it is so.
sub wait_metric {
    my ($t, $name, $want, $seconds) = @_;

    my $value;
    my $so = $t->wait_for("$name is " . (ref $want ? 'right' : $want), $seconds // 30, sub {
        $value = metrics($t)->{$name} // return 0;
        return ref $want ? $want->($value) : $value == $want;
    });
    diag("$name is " . ($value // 'not there')) if !$so;

    return $value;
}

sub wait_api {
    my ($t) = @_;

    return $t->wait_for('the API answers', 30, sub { $t->api('/metrics')->status == 200 });
}

my $sent = 0;

sub send_events {
    my ($t, $count, $uri) = @_;

    my $body = '[' . join(',', map { '{"id":"a-' . ++$sent . '"}' } 1 .. $count) . ']';
    $t->is_receipt($t->post($uri // '/events', $body), $count);
}

# ---- -t

{
    my $t = Nucleus::Test->new;
    my $dir = $t->dir;
    my $rest = "state $dir/state;\nqueue log { path $dir/queue; }\npipeline a { sink file { path $dir/store; } }\n";

    my $try = sub {
        my ($text) = @_;
        $t->write_file('worker.conf', $rest . $text);
        return $t->worker('-t');
    };

    for my $case (
        [ 'api;',                        qr/arguments in "api"/ ],
        [ 'api on;',                     qr/"api" is "on", not "unix:PATH" or "off"/ ],
        [ 'api unix:;',                  qr/"api" is "unix:"/ ],
        [ 'api 127.0.0.1:80;',           qr/not "unix:PATH"/ ],
        [ "api off;\napi off;",          qr/"api" is duplicate/ ],
        [ 'api unix:/' . 'x' x 107 . ';', qr/too long path in "api", a socket's has at most 107 bytes/ ],
    ) {
        my ($text, $message) = @$case;
        my ($status, $out) = $try->($text);
        ok($status == 1 && $out =~ $message, "-t: $text") or diag($out);
    }

    my ($status, $out) = $try->("api unix:$dir/none/worker.sock;");
    is($status, 0, '-t: without the directory of the socket events are delivered all the same');
    like($out, qr{warning: the socket "\Q$dir\E/none/worker\.sock" cannot be made.*make the directory},
        'but it warns, and says what to do');
    ($status, $out) = $try->("api unix:$dir/worker.sock;");
    unlike($out, qr/warning/, '-t: with it, it does not') if $status == 0;
    is($status, 0, '-t: good');
    $t->finish;
}

# ---- what it tells

my $t = Nucleus::Test->new(
    api       => $API,
    locations => 'location = /other { nucleus auto; nucleus_stream other; }'
        . ' location = /worker/metrics { proxy_pass http://unix:%%DIR%%/worker.sock:/metrics; }',
    more      => 'pipeline some { streams other; sink file { path %%DIR%%/some; } }',
);

$t->start;
wait_api($t);
is((stat $t->dir . '/worker.sock')[2] & 07777, 0660, 'the socket is for owner and group');
$t->wait_for('it is ready', 30, sub { $t->api('/health')->status == 200 });
is_deeply($t->api('/health')->json, { status => 'ready' }, 'and says so');

send_events($t, 30);
send_events($t, 12, '/other');
$t->wait_events(42);
wait_metric($t, 'nucleus_pipeline_records_total{pipeline="store",result="delivered"}', 42);
wait_metric($t, 'nucleus_pipeline_records_total{pipeline="some",result="filtered"}', 30);
wait_metric($t, 'nucleus_pipeline_lag_records{pipeline="some"}', 0);

my $m = metrics($t);
like(join("\n", sort keys %$m), qr/^nucleus_worker_build_info\{version="\d+\.\d+\.\d+"\}$/m, 'the version');
is($m->{'nucleus_pipeline_records_total{pipeline="some",result="delivered"}'}, 12, 'what the filter lets through');
is($m->{'nucleus_pipeline_records_total{pipeline="some",result="corrupt"}'}, 0, 'nothing is corrupt');
cmp_ok($m->{'nucleus_pipeline_delivered_bytes_total{pipeline="store"}'}, '>', 42 * 10, 'bytes');
cmp_ok($m->{'nucleus_pipeline_batches_total{pipeline="store"}'}, '>=', 1, 'batches');
is($m->{'nucleus_pipeline_delivery_seconds_count{pipeline="store"}'},
    $m->{'nucleus_pipeline_batches_total{pipeline="store"}'}, 'each of them has its time');
is($m->{'nucleus_pipeline_delivery_seconds_bucket{pipeline="store",le="+Inf"}'},
    $m->{'nucleus_pipeline_batches_total{pipeline="store"}'}, 'in a bucket');
is($m->{"nucleus_pipeline_lag_$_\{pipeline=\"store\"}"}, 0, "no lag: $_") for qw(records bytes seconds);
cmp_ok(abs(time - $m->{'nucleus_pipeline_last_delivery_timestamp_seconds{pipeline="store"}'}), '<', 300,
    'the last delivery was now');
is($m->{"nucleus_pipeline_up{pipeline=\"$_\"}"}, 1, "pipeline $_ is up") for qw(store some);
is($m->{"nucleus_pipeline_restarts_total{pipeline=\"$_\"}"}, 0, "$_ has not crashed") for qw(store some);
is($m->{'nucleus_keeper_up'}, 1, 'the keeper is up');
is($m->{'nucleus_keeper_errors_total'}, 0, 'without errors');
is($m->{'nucleus_queue_quarantined_bytes_total'}, 0, 'nothing is in quarantine');
cmp_ok($m->{'nucleus_queue_segments'}, '>=', 1, 'segments');
cmp_ok($m->{'nucleus_queue_oldest_seconds'}, '>', 0, 'the oldest segment has an age');

# the books, by hand
my @sources = map { /^nucleus_source_durable_records\{source="([^"]+)"\}$/ ? $1 : () } keys %$m;
my $durable = 0;

for my $source (@sources) {
    $durable += $m->{"nucleus_source_durable_records{source=\"$source\"}"};

    for my $pipeline (qw(store some)) {
        my $sum = 0;
        $sum += $m->{"nucleus_pipeline_source_records{pipeline=\"$pipeline\",source=\"$source\",state=\"$_\"}"} // -1000
            for qw(queued delivered filtered corrupt skipped);
        is($sum, $m->{"nucleus_source_durable_records{source=\"$source\"}"}, "$pipeline, $source: the books balance");
        is($m->{"nucleus_pipeline_unbalanced_records{pipeline=\"$pipeline\",source=\"$source\"}"}, 0, 'and it says so');
    }
}

is($durable, 42, 'all that was sent is durable');
is($m->{'nucleus_pipeline_unbalanced_records{pipeline="store",source="_retired"}'}, 0, 'writers that are gone');

# three formats
{
    my $r = $t->api('/metrics');
    is($r->header('Content-Type'), 'text/plain; version=0.0.4; charset=utf-8', 'Prometheus');
    is($r->header('Cache-Control'), 'no-store', 'which no cache keeps');
    $r = $t->api('/metrics', headers => [ Accept => 'application/openmetrics-text;version=1.0.0,text/plain;q=0.5' ]);
    is($r->header('Content-Type'), 'application/openmetrics-text; version=1.0.0; charset=utf-8', 'OpenMetrics');
    like($r->body, qr/\n# EOF\n\z/, 'with its end');
    parse($r->body);
    $r = $t->api('/metrics', headers => [ Accept => 'application/json' ]);
    is($r->header('Content-Type'), 'application/json', 'JSON');
    my ($records) = grep { $_->{name} eq 'nucleus_pipeline_records_total' } @{ $r->json->{metrics} };
    is((grep { $_->{labels}{pipeline} eq 'store' && $_->{labels}{result} eq 'delivered' } @{ $records->{samples} })[0]{value},
        42, 'with the same values');
}

# as docs/worker.md shows it
{
    my $r = $t->get('/worker/metrics');
    is($r->status, 200, 'through nginx');
    is($r->header('Content-Type'), 'text/plain; version=0.0.4; charset=utf-8', 'the same page');
    is(parse($r->body)->{'nucleus_pipeline_records_total{pipeline="store",result="delivered"}'}, 42, 'with the same values');
}

# /status is what --status --json prints
{
    my ($code, $out) = $t->worker('--status', '--json');
    my $printed = JSON::PP->new->utf8->decode($out);
    my $asked = $t->api('/status')->json;
    is_deeply($asked, $printed, '/status says what --status --json says');
    is($asked->{api}{restarts}, 0, 'with the process of the API');
    my ($store) = grep { $_->{name} eq 'store' } @{ $asked->{pipelines} };
    is($store->{lag}{seconds}, 0, 'and how long the oldest record waits');
    is($store->{sources}[$_]{unbalanced}, 0, 'and the books') for 0 .. $#{ $store->{sources} };
}

# ---- requests that are not good

{
    my $unix = $t->dir . '/worker.sock';

    for my $uri (qw(/metrics /status /health)) {
        my $r = $t->request('HEAD', $uri, [], undef, unix => $unix);
        ok($r->status == 200 && $r->body eq '' && $r->header('Content-Length') > 10, "HEAD $uri");
        $r = $t->request('POST', $uri, [], '', unix => $unix);
        $t->is_problem($r, 405, 'method-not-allowed', {}, "POST $uri");
        is($r->header('Allow'), 'GET, HEAD', 'says what would be');
        is($t->api("$uri?x=1")->status, 200, "$uri with arguments");
    }

    $t->is_problem($t->api($_), 404, 'not-found', { detail => qr{/metrics, /status and /health} }, "GET $_")
        for qw(/ /metrics/ /METRICS /metrics/../status /%2fmetrics);
    $t->is_problem($t->request('DELETE', '/none', [], undef, unix => $unix), 404, 'not-found', {}, 'DELETE');
    $t->is_problem($t->request('GET', '/status', [], 'body', unix => $unix), 413, 'body-too-large', {}, 'GET with a body');
    $t->is_problem($t->request('GET', '/status', [ 'Transfer-Encoding' => 'chunked' ], "0\r\n\r\n", unix => $unix),
        413, 'body-too-large', {}, 'and in chunks');
    $t->is_problem($t->request('POST', '/status', [ 'Content-Length' => 10**15 ], '', unix => $unix),
        405, 'method-not-allowed', {}, 'POST of a petabyte');

    for my $case (
        [ 'no request'      => "\r\n\r\n\0\xff\r\n\r\n" ],
        [ 'no version'      => "GET\r\n\r\n" ],
        [ 'a long line'     => 'GET /' . 'x' x 100_000 . " HTTP/1.1\r\n\r\n" ],
        [ 'a long header'   => "GET /status HTTP/1.1\r\nX: " . 'x' x 100_000 . "\r\n\r\n" ],
        [ 'many headers'    => "GET /status HTTP/1.1\r\n" . "X: y\r\n" x 20_000 . "\r\n" ],
        [ 'TLS'             => "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" . "\x00" x 100 ],
    ) {
        my ($name, $bytes) = @$case;
        my $c = Nucleus::Client->new(unix => $unix);
        $c->send($bytes);
        $c->half_close;
        my $r = $c->response(timeout => 30);
        ok(!$r || $r->status >= 400 && $r->status < 600, "$name: refused") or diag($r->text);
        $c->close;
    }

    is($t->api('/health')->status, 200, 'and it answers others');

    # more than it takes at a time, and none of them says what it wants
    my @idle = map { Nucleus::Client->new(unix => $unix, may_fail => 1) } 1 .. 100;
    $_ && $_->send("GET /metrics HTTP/1.1\r\nX: ") for @idle;
    send_events($t, 5);
    $t->wait_events(47);
    pass('deliveries go on while its connections are taken');
    $t->wait_for('it has closed those that say nothing', 120, sub { $t->api('/health')->status == 200 });
    $_ && $_->close for @idle;
}

# ---- a pipeline that cannot go on, and comes back

my ($process) = grep { $_->{name} eq 'store' } @{ $t->api('/status')->json->{pipelines} };
my $before = metrics($t);
my ($file) = glob $t->store . '/*/*/*/*/*.ndjson';
my $content = $t->read_file($file);

$t->expect_log(qr/"child":"store"/, qr/"process":"store".*pipeline failed/);
$t->signal('STOP', 'worker');
$t->write_file($file, '');
kill KILL => $process->{process}{pid};
$t->signal('CONT', 'worker');
$t->wait_for('it is not ready', 60, sub { $t->api('/health')->status == 503 });
$t->is_problem($t->api('/health'), 503, 'not-ready', { detail => 'pipeline store is down' }, 'which pipeline it is');
wait_metric($t, 'nucleus_pipeline_errors_total{pipeline="store"}', sub { $_[0] >= 1 });
send_events($t, 3);
wait_metric($t, 'nucleus_pipeline_lag_records{pipeline="store"}', 3);
wait_metric($t, 'nucleus_pipeline_lag_seconds{pipeline="store"}', sub { $_[0] > 0.1 });
$m = metrics($t);
is($m->{'nucleus_pipeline_up{pipeline="store"}'}, 0, 'it is down');
is($m->{'nucleus_pipeline_up{pipeline="some"}'}, 1, 'the other one is not');
is($m->{'nucleus_pipeline_restarts_total{pipeline="store"}'}, 1, 'it has crashed once');
cmp_ok($m->{'nucleus_pipeline_batches_total{pipeline="store"}'}, '>=',
    $before->{'nucleus_pipeline_batches_total{pipeline="store"}'}, 'what it had counted is not lost by that');

$t->write_file($file, $content);
$t->wait_for('it is ready again', 60, sub { $t->api('/health')->status == 200 });
wait_metric($t, 'nucleus_pipeline_records_total{pipeline="store",result="delivered"}', 50);
wait_metric($t, 'nucleus_pipeline_lag_seconds{pipeline="store"}', 0);

# ---- reload: the counts of those that stay, stay

$before = metrics($t);
$t->write_confs(more => 'pipeline new { sink file { path %%DIR%%/new; } }');
is(($t->worker('-s', 'reload'))[0], 0, 'a reload that takes one pipeline away and adds another');
wait_metric($t, 'nucleus_pipeline_up{pipeline="new"}', 1);
$m = metrics($t);
is($m->{'nucleus_pipeline_restarts_total{pipeline="store"}'}, 1, 'the one that stays has its counts');
cmp_ok($m->{'nucleus_pipeline_batches_total{pipeline="store"}'}, '>=',
    $before->{'nucleus_pipeline_batches_total{pipeline="store"}'}, 'all of them');
ok(!exists $m->{'nucleus_pipeline_up{pipeline="some"}'}, 'one that was taken away is neither up nor down');
is($m->{'nucleus_pipeline_records_total{pipeline="some",result="delivered"}'}, 12,
    'but what it had done is told until it is forgotten');
$t->expect_log(qr/registered pipeline is not in the configuration/);

$t->write_confs(api => 'off');
$t->worker('-s', 'reload');
$t->wait_for('api off', 30, sub { !-e $t->dir . '/worker.sock' });
$t->write_confs(api => $API);
$t->worker('-s', 'reload');
wait_api($t);

# ---- the socket of the dead, and of the living

$t->kill_all('worker');
ok(-S $t->dir . '/worker.sock', 'a worker that was killed leaves its socket');
$t->start_worker;
wait_api($t);
pass('the next one replaces it');

{
    my $second = Nucleus::Test->new(api => "unix:" . $t->dir . '/worker.sock');
    $second->start;
    send_events($second, 1);
    $second->wait_events(1);
    is($t->api('/metrics')->body =~ /pipeline="new"/, 1, 'another worker on the same path does not take it away');
    $second->finish;
    is($t->api('/health')->status, 200, 'nor when it ends');
}

$t->stop('worker');
ok(!-e $t->dir . '/worker.sock', 'it is unlinked at the end');

{
    my $path = $t->dir . '/worker.sock';
    my $listener = IO::Socket::UNIX->new(Type => SOCK_STREAM, Local => $path, Listen => 5) or die $!;
    $t->expect_log(qr/local API cannot start/);
    $t->start_worker;
    my $log = sub { my ($pattern) = @_; $t->wait_for("the log: $pattern", 30, sub { $t->read_file('worker.out') =~ $pattern }) };
    $log->(qr/another program listens on \\"\Q$path\E\\"/);
    ok(-S $path, 'a socket on which another program listens is left to it');
    close $listener;
    wait_api($t);
    pass('and taken when it does no more');

    $t->stop('worker');
    $t->write_file('worker.sock', 'precious');
    $t->start_worker;
    $log->(qr/worker\.sock\\" is there, and is no socket/);
    send_events($t, 1);
    $t->wait_events(51);
    is($t->read_file('worker.sock'), 'precious', 'a file is left alone, and deliveries go on');
    unlink $path;
    wait_api($t);
    $t->stop('worker');

    $t->write_confs(api => 'unix:%%DIR%%/none/worker.sock');
    $t->start_worker;
    $log->(qr/cannot be made in .*No such file or directory.*make the directory, owned by the user/);
    send_events($t, 1);
    $t->wait_events(52);
    mkdir $t->dir . '/none';
    $t->wait_for('it is made as soon as it can be', 60, sub { -S $t->dir . '/none/worker.sock' });
    $t->stop('worker');
    $t->write_confs(api => $API);
}

# ---- a record is hidden: the position moves on by one that nobody has counted

sub crc32c {
    my ($crc, $bytes) = (0xffffffff, @_);

    for my $byte (unpack 'C*', $bytes) {
        $crc ^= $byte;
        $crc = $crc & 1 ? ($crc >> 1) ^ 0x82f63b78 : $crc >> 1 for 1 .. 8;
    }

    return $crc ^ 0xffffffff;
}

{
    my $commit = $t->state . '/pipelines/store/commit';
    my $text = $t->read_file($commit);
    my ($sum) = $text =~ /crc32c ([0-9a-f]{8})\n\z/;
    my $body = substr $text, 0, -16;
    is($sum, sprintf('%08x', crc32c($body)), "the commit's checksum");

    my ($source) = $body =~ /^writer (\S+) segment \d+ offset \d+ sequence \d+ skipped 0 delivered [1-9]/m;
    $body =~ s/^(writer \Q$source\E .* sequence )(\d+)/$1 . ($2 + 1)/me;

    send_events($t, 4);
    $t->write_file($commit, $body . sprintf("crc32c %08x\n", crc32c($body)));
    my ($status, $out) = $t->worker('--verify', $t->state);
    is($status, 1, '--verify of the state sees it');
    like($out, qr/UNBALANCED: of writer $source 1 records were passed that nobody has counted/, 'and says where');
    ($status, $out) = $t->worker('--verify', $t->state, '--json');
    my ($found) = grep { $_->{name} eq 'store' } @{ JSON::PP->new->utf8->decode($out)->{pipelines} };
    is_deeply($found->{unbalanced}, [ { writer => $source, records => 1 } ], 'also for programs');

    $t->expect_log(qr/records were passed that nobody has counted/);
    $t->start_worker;
    wait_api($t);

    my $series = "nucleus_pipeline_unbalanced_records{pipeline=\"store\",source=\"$source\"}";
    wait_metric($t, $series, 1);
    is(metrics($t)->{"nucleus_pipeline_unbalanced_records{pipeline=\"new\",source=\"$source\"}"}, 0,
        'the books of the other pipeline are right');
    $t->wait_events(55);
    wait_metric($t, 'nucleus_pipeline_lag_records{pipeline="store"}', 0);
    is(metrics($t)->{$series}, 1, 'it stays');
    like(($t->worker('--status'))[1], qr/UNBALANCED: of writer $source 1 records/, '--status says it');
    like($t->read_file('worker.out'), qr/"level":"alert","process":"store".*"writer":"$source","records":1/,
        'and the log');

    # nobody needs the log any more, and nginx ends: its writers' directories go
    $t->stop('worker');
    is(($t->worker('--forget', 'some'))[0], 0, 'the pipeline that holds the log is forgotten');
    $t->start_worker;
    wait_api($t);
    $t->stop('nginx');
    wait_metric($t, 'nucleus_pipeline_unbalanced_records{pipeline="store",source="_retired"}', 1);
    $m = metrics($t);
    ok(!exists $m->{$series}, 'when its writer is gone, it stands under those that are gone');
    is($m->{'nucleus_pipeline_records_total{pipeline="store",result="delivered"}'}, 55, 'as do the counts');
    is($m->{'nucleus_queue_segments'}, 0, 'no segment is left');
    is($m->{'nucleus_queue_oldest_seconds'}, 0, 'nor the age of one');
}

$t->finish;
done_testing;
