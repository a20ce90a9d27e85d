#!/usr/bin/perl

# What is wrong in nginx.conf is said by nginx -t, by name and place; and an nginx that only loads
# the module is as it was.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Nucleus::Test;

my $t = Nucleus::Test->new;

# The configuration that these lines make of a small good one.
sub conf {
    my (%part) = @_;

    my $queue = $part{queue} // 'nucleus_queue log %%DIR%%/queue;';
    my $auth = $part{auth} // 'nucleus_auth off;';
    my $location = $part{location} // 'location = /events { nucleus auto; }';
    my $http = $part{http} // '';
    my $load = $part{load} // 'load_module %%MODULE%%;';

    return <<"END";
%%USER%%
$load
pid %%DIR%%/nginx.pid;
error_log %%DIR%%/error.log info;
events {}
http {
    access_log            %%DIR%%/access.log;
    client_body_temp_path %%DIR%%/body;
    proxy_temp_path       %%DIR%%/proxy;
    fastcgi_temp_path     %%DIR%%/fastcgi;
    uwsgi_temp_path       %%DIR%%/uwsgi;
    scgi_temp_path        %%DIR%%/scgi;
    $queue
    $http

    server {
        listen 127.0.0.1:%%PORT%%;
        $auth
        $location
    }
}
END
}

sub accepted {
    my ($name, %part) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    $t->write_confs(nginx => conf(%part));
    my ($status, $out) = $t->nginx_test;
    ok($status == 0 && $out !~ /\[emerg\]/, "accepted: $name") or diag($out);
}

# The message must name the file and the line, unless "place" is 0: where nginx's own does not.
sub refused {
    my ($name, $message, %part) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    $t->write_confs(nginx => conf(%part));
    my ($status, $out) = $t->nginx_test;
    my ($emerg) = $out =~ /(\[emerg\].*)/;
    $emerg //= 'none';

    my $place = $part{place} // 1 ? qr{ in \S*nginx\.conf:\d+} : qr//;

    ok($status == 1 && $emerg =~ $message && $emerg =~ $place, "refused: $name")
        or diag("status $status: $out");
}

accepted('the small good one');
accepted('all options', queue => 'nucleus_queue log %%DIR%%/queue max_size=50g min_free=5g segment=64m timeout=5s;'
        . 'nucleus_max_inflight 64m;');
accepted('min_free=0', queue => 'nucleus_queue log %%DIR%%/queue min_free=0;');
accepted('a relative directory', queue => 'nucleus_queue log queue;');
accepted('all of a location', location => 'location / { nucleus json; nucleus_stream s; nucleus_tenant t;'
        . 'nucleus_max_event_size 10k; nucleus_max_events 7; nucleus_max_event_depth 9; }');
accepted('variables', location => 'location / { nucleus auto; nucleus_stream $arg_s; nucleus_tenant a-$arg_t; }');
accepted('authentication off further out', auth => '', http => 'nucleus_auth off;');
accepted('health without authentication', auth => '', location => 'location / { nucleus_health ready; }');
accepted('health live without a queue', queue => '', auth => '',
    location => 'location / { nucleus_health live; }');
accepted('limits of each kind and unit', http => 'nucleus_zone 64k; nucleus_limit address rate=10r/s burst=5;',
    location => 'location / { nucleus auto; nucleus_limit tenant burst=50000 rate=20000e/s;'
        . 'nucleus_limit tenant rate=100k/s; nucleus_limit key rate=1m/s burst=3; nucleus_limit key rate=1r/s; }');
accepted('the largest limits', location => 'location / { nucleus auto; nucleus_limit key rate=1099511627776r/s;'
        . 'nucleus_limit tenant rate=1048576m/s burst=1048576; nucleus_limit address rate=1r/s burst=1099511627776; }');
accepted('no limits', http => 'nucleus_limit key rate=1r/s;', location => 'location / { nucleus auto; nucleus_limit off; }');
accepted('a queue that no location uses', location => '', auth => '');

# ---- closed by default

refused('no nucleus_auth', qr/no "nucleus_registry" is defined for the "nucleus" directive/, auth => '');
refused('nucleus_auth key', qr/no "nucleus_registry" is defined/, auth => 'nucleus_auth key;');
refused('nucleus_auth signature', qr/"signature" in "nucleus_auth"/, auth => 'nucleus_auth signature;');
refused('nucleus_auth key signature', qr/in "nucleus_auth"/, auth => 'nucleus_auth key signature;');
refused('nucleus_auth on', qr/"on" in "nucleus_auth"/, auth => 'nucleus_auth on;');
refused('nucleus_auth off off', qr/"nucleus_auth"/, auth => 'nucleus_auth off off;');
refused('nucleus_auth without a word', qr/number of arguments in "nucleus_auth"/, auth => 'nucleus_auth;');
refused('nucleus_auth off in a neighbour only', qr/no "nucleus_registry" is defined/, auth => '',
    location => 'location /a { nucleus auto; nucleus_auth off; } location /b { nucleus auto; }');

# ---- the registry

my $registry = Nucleus::Registry->new($t);
my $snapshot = $registry->snapshot;
my %keys = (auth => '', http => "nucleus_registry $snapshot;");

accepted('keys', %keys);
accepted('keys, said', %keys, auth => 'nucleus_auth key;');
accepted('max_age', %keys, http => "nucleus_registry $snapshot max_age=1d;");
accepted('all of a location with keys', %keys,
    location => 'location / { nucleus auto; nucleus_auth_argument key; nucleus_require_tls off; nucleus_stream $arg_s; }');

refused('two registries', qr/"nucleus_registry" directive is duplicate/, %keys,
    http => "nucleus_registry $snapshot; nucleus_registry $snapshot;");
refused('nucleus_registry in a server', qr/"nucleus_registry" directive is not allowed here/, %keys,
    location => 'nucleus_registry x;');
refused("nucleus_registry with $_", qr/invalid parameter "\Q$_\E"/, %keys, http => "nucleus_registry $snapshot $_;")
    for qw(max_age=0 max_age=x max_age= age=1);
refused('max_age twice', qr/duplicate parameter/, %keys, http => "nucleus_registry $snapshot max_age=1h max_age=2h;");
refused('no snapshot', qr/nucleus registry ".*\/none" is not there; "nucleusctl init" makes it/, %keys,
    http => 'nucleus_registry %%DIR%%/none;');
refused('a tenant beside keys', qr/"nucleus_tenant" is defined for the "nucleus" directive/, %keys,
    location => 'location / { nucleus auto; nucleus_tenant a; }');
refused("nucleus_auth_argument $_", qr/invalid name .* in "nucleus_auth_argument"/, %keys,
    location => "location / { nucleus auto; nucleus_auth_argument $_; }") for qw(a=b a%20 a&b "");
refused('two nucleus_auth_argument', qr/"nucleus_auth_argument" directive is duplicate/, %keys,
    location => 'location / { nucleus auto; nucleus_auth_argument a; nucleus_auth_argument b; }');
refused('nucleus_require_tls maybe', qr/"maybe" in "nucleus_require_tls"/, %keys,
    location => 'location / { nucleus auto; nucleus_require_tls maybe; }');

{
    my $bytes = $t->read_file($snapshot);
    my $broken = $t->write_file('broken.snapshot', substr($bytes, 0, -1));
    refused('a snapshot that was cut off', qr/nucleus registry: snapshot ".*broken\.snapshot" is not usable/, %keys, http => "nucleus_registry $broken;");

    my $writable = $t->write_file('writable.snapshot', $bytes);
    chmod 0664, $writable;
    refused('a snapshot that others may write', qr/may be written by others than its owner/, %keys,
        http => "nucleus_registry $writable;");
}

# ---- who is open to whom

sub warns {
    my ($name, $expected, %part) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    $t->write_confs(nginx => conf(%part));
    my ($status, $out) = $t->nginx_test;
    my $warned = $out =~ /\[warn\].*location with "nucleus" in \S*nginx\.conf:\d+ takes events from whoever reaches (\S+): its "nucleus_auth" is "off"/;
    is($status, 0, "$name: accepted") or diag($out);
    is($warned ? $1 : '', $expected, $name);
}

# Warned of: the location that a limit is said in, and nothing is limited.
sub limits_nothing {
    my ($name, $expected, %part) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    $t->write_confs(nginx => conf(%part));
    my ($status, $out) = $t->nginx_test;
    my @warned = $out =~ /\[warn\] location "(\S+)" has "nucleus_limit" in \S*nginx\.conf:\d+, and neither itself nor within it a "nucleus" to be limited/g;
    is($status, 0, "$name: accepted") or diag($out);
    is("@warned", $expected, $name);
}

{
    my $limit = 'nucleus_limit address rate=1r/s;';

    limits_nothing('a limit beside no nucleus', '/', location => "location / { $limit return 204; }");
    limits_nothing('in a location within', '/a/b', location => "location /a { nucleus auto; location /a/b { $limit } }");
    limits_nothing('beside nucleus_health', '/h', location => "location /h { nucleus_health live; $limit }");
    limits_nothing('several, once', '/a', location => "location /a { $limit nucleus_limit tenant rate=1e/s; }");
    limits_nothing('beside nucleus', '', location => "location / { nucleus auto; $limit }");
    limits_nothing('and an if', '', location => "location / { nucleus auto; $limit if (\$arg_x) { set \$y 1; } }");
    limits_nothing('and limit_except', '', location => "location / { nucleus auto; $limit limit_except POST { deny all; } }");
    limits_nothing('for locations within', '', location => "location /a { $limit location /a/b { location = /a/b/c { nucleus auto; } } }");
    limits_nothing('for regular expressions within', '', location => "location /a { $limit location ~ x { nucleus auto; } }");
    limits_nothing('for the server, or all', '', http => $limit, location => "$limit location / { return 204; }");
    limits_nothing('none', '', location => 'location / { nucleus_limit off; return 204; }');
}

warns('loopback', '');
warns('everywhere', '0.0.0.0:' . $t->port2, auth => 'nucleus_auth off; listen %%PORT2%%;');
warns('a socket', '', auth => 'nucleus_auth off; listen unix:%%DIR%%/socket;');
warns('everywhere, with keys', '', %keys, auth => 'listen %%PORT2%%;');

# ---- the queue

refused('no queue', qr/no "nucleus_queue" is defined for the "nucleus" directive/, queue => '');
refused('no queue for ready', qr/no "nucleus_queue" is defined for the "nucleus_health" directive/,
    queue => '', location => 'location / { nucleus_health ready; }');
refused('queue kafka', qr/"kafka"/, queue => 'nucleus_queue kafka /etc/kafka.properties;');
refused('queue without directory', qr/number of arguments in "nucleus_queue"/, queue => 'nucleus_queue log;');
refused('directory of no name', qr/nucleus_queue|directory/, queue => 'nucleus_queue log "";');
refused('directory that is a file', qr/is not a directory/, queue => 'nucleus_queue log %%DIR%%/nginx.conf;');
refused('directory with a long name', qr/too long/, queue => 'nucleus_queue log /' . 'x' x 4000 . ';');
refused('unknown option', qr/invalid parameter "colour=red"/, queue => 'nucleus_queue log q colour=red;');
refused('option without =', qr/invalid parameter "max_size"/, queue => 'nucleus_queue log q max_size;');

for my $bad (qw(max_size= max_size=0 max_size=-1 max_size=1x max_size=10tb min_free=x min_free=-1 segment=0
    segment=1s timeout=0 timeout=x timeout=-1s timeout=s))
{
    refused($bad, qr/invalid parameter "\Q$bad\E"/, queue => "nucleus_queue log q $bad;");
}

refused('a repeated option', qr/duplicate parameter "max_size=2g"/, queue => 'nucleus_queue log q max_size=1g max_size=2g;');
refused('a segment over the quota', qr/"segment" of "nucleus_queue"/, queue => 'nucleus_queue log q max_size=1m segment=2m;');

# ---- duplicates, contexts, values

refused('two queues', qr/"nucleus_queue" directive is duplicate/, queue => 'nucleus_queue log a; nucleus_queue log b;');
refused('two formats', qr/"nucleus" directive is duplicate/, location => 'location / { nucleus auto; nucleus json; }');
refused('two health', qr/"nucleus_health" directive is duplicate/,
    location => 'location / { nucleus_health live; nucleus_health ready; }');
refused('nucleus and health', qr/"nucleus_health" directive is incompatible/,
    location => 'location / { nucleus auto; nucleus_health live; }');
refused('health and nucleus', qr/"nucleus" directive is incompatible/,
    location => 'location / { nucleus_health live; nucleus auto; }');

for my $name (qw(nucleus_auth nucleus_require_tls nucleus_stream nucleus_tenant nucleus_max_event_size nucleus_max_events
    nucleus_max_event_depth))
{
    my $value = $name =~ /auth|tls/ ? 'off' : $name =~ /max/ ? '10' : 'a';
    refused("two $name", qr/"$name" directive is duplicate/,
        location => "location / { nucleus auto; $name $value; $name $value; }");
}

refused('two nucleus_max_inflight', qr/"nucleus_max_inflight" directive is duplicate/,
    http => 'nucleus_max_inflight 1m; nucleus_max_inflight 2m;');

refused('nucleus in a server', qr/"nucleus" directive is not allowed here/, location => 'nucleus auto;');
refused('nucleus_queue in a server', qr/"nucleus_queue" directive is not allowed here/, location => 'nucleus_queue log q;');
refused('nucleus_max_inflight in a location', qr/"nucleus_max_inflight" directive is not allowed here/,
    location => 'location / { nucleus_max_inflight 1m; }');

for my $format (qw(xapi caliper cloudevents upload websocket csv JSON)) {
    refused("nucleus $format", qr/"$format"/, location => "location / { nucleus $format; }");
}

refused('nucleus without a format', qr/number of arguments in "nucleus"/, location => 'location / { nucleus; }');
refused('nucleus_health no', qr/"no"/, location => 'location / { nucleus_health no; }');

for my $bad ('A', '.a', '-a', '_a', 'a/b', '../a', '""', '"a b"', 'x' x 65, "\xc3\xa9") {
    refused("stream $bad", qr/in "nucleus_stream" directive/, location => "location / { nucleus auto; nucleus_stream $bad; }");
    refused("tenant $bad", qr/in "nucleus_tenant" directive/, location => "location / { nucleus auto; nucleus_tenant $bad; }");
}

refused('an unknown variable', qr/"nothing"/, place => 0,
    location => 'location / { nucleus auto; nucleus_stream $nothing; }');

for my $bad (qw(0 x -1 1.5)) {
    refused("nucleus_max_events $bad", qr/nucleus_max_events|value/, location => "location / { nucleus auto; nucleus_max_events $bad; }");
    refused("nucleus_max_event_depth $bad", qr/nucleus_max_event_depth|value/,
        location => "location / { nucleus auto; nucleus_max_event_depth $bad; }");
}

refused('nucleus_max_event_depth 513', qr/value/, location => 'location / { nucleus auto; nucleus_max_event_depth 513; }');
refused('nucleus_max_event_size x', qr/nucleus_max_event_size/, location => 'location / { nucleus auto; nucleus_max_event_size x; }');
refused('nucleus_max_event_size 0', qr/nucleus_max_event_size/, location => 'location / { nucleus auto; nucleus_max_event_size 0; }');
refused('nucleus_max_inflight 0', qr/nucleus_max_inflight/, place => 0, http => 'nucleus_max_inflight 0;');
refused('nucleus_max_inflight x', qr/nucleus_max_inflight/, http => 'nucleus_max_inflight x;');

# ---- limits

refused('two nucleus_zone', qr/"nucleus_zone" directive is duplicate/, http => 'nucleus_zone 1m; nucleus_zone 1m;');
refused('a small zone', qr/"nucleus_zone" must be at least \d+/, http => 'nucleus_zone 63k;');
refused('nucleus_zone x', qr/"nucleus_zone" directive invalid value/, http => 'nucleus_zone x;');
refused('nucleus_zone in a server', qr/"nucleus_zone" directive is not allowed here/, location => 'nucleus_zone 1m;');
refused('nucleus_limit of nothing', qr/number of arguments in "nucleus_limit"/, http => 'nucleus_limit;');
refused('nucleus_limit without a rate', qr/"nucleus_limit" directive has no "rate"/, http => 'nucleus_limit key burst=1;');
refused('nucleus_limit key alone', qr/"nucleus_limit" directive has no "rate"/, http => 'nucleus_limit key;');
refused('nucleus_limit of another kind', qr/unknown limit "stream" in "nucleus_limit" directive/,
    http => 'nucleus_limit stream rate=1r/s;');
refused('nucleus_limit of another option', qr/invalid parameter "delay=1" in "nucleus_limit" directive/,
    http => 'nucleus_limit key rate=1r/s delay=1;');
refused('nucleus_limit off and more', qr/"nucleus_limit" directive has parameters beside "off"/,
    http => 'nucleus_limit off rate=1r/s;');
refused('a limit after off', qr/"nucleus_limit" directive is "off" already/,
    http => 'nucleus_limit off; nucleus_limit key rate=1r/s;');
refused('off after a limit', qr/"nucleus_limit" directive is duplicate/,
    http => 'nucleus_limit key rate=1r/s; nucleus_limit off;');
refused('two rates', qr/duplicate parameter "rate=2r\/s" in "nucleus_limit" directive/,
    http => 'nucleus_limit key rate=1r/s rate=2r/s;');

for my $two ([ 'key rate=1r/s', 'key rate=2r/s' ], [ 'tenant rate=1k/s', 'tenant rate=1m/s' ]) {
    refused("two limits: @$two", qr/duplicate limit of this kind and unit .* in "nucleus_limit" directive/,
        http => join '', map { "nucleus_limit $_;" } @$two);
}

for my $bad (qw(rate=0r/s rate=r/s rate=1 rate=1r rate=1/s rate=1r/m rate=1g/s rate=-1r/s rate=1.5r/s rate=1kr/s rate= rate=/s
    rate=1R/s))
{
    refused($bad, qr/invalid parameter "\Q$bad\E" in "nucleus_limit" directive/, http => "nucleus_limit key $bad;");
}

for my $bad (qw(burst=0 burst= burst=-1 burst=1k burst=x)) {
    refused($bad, qr/invalid parameter "\Q$bad\E" in "nucleus_limit" directive/, http => "nucleus_limit key rate=1k/s $bad;");
}

for my $bad (qw(rate=1099511627777r/s rate=1073741825k/s rate=1048577m/s rate=99999999999999999999999r/s)) {
    refused($bad, qr/parameter "\Q$bad\E" in "nucleus_limit" directive is too large/, http => "nucleus_limit key $bad;");
}

refused('a large burst', qr/parameter "burst=1048577" in "nucleus_limit" directive is too large/,
    http => 'nucleus_limit key rate=1m/s burst=1048577;');

ok(!-e $t->dir . '/q' && !-e $t->dir . '/a', 'what is refused makes no directory');

# ---- nginx that only loads the module

rmdir $t->queue or die "rmdir of an unused queue failed: $!\n";

sub threads { my @threads = glob "/proc/$_[0]/task/*"; return scalar @threads }

sub look {
    my (%part) = @_;

    $t->write_confs(nginx => conf(queue => '', auth => '',
        location => 'location / { return 200 "plain\n"; }', %part));
    $t->start_nginx(ready => 0) or die "nginx does not start\n";

    my ($pid) = $t->wait_for('a worker process', 10, sub { ($t->nginx_workers)[0] });
    my $r = $t->request('GET', '/', [], undef);
    (my $answer = $r->text) =~ s/^date: .*\n//mi;
    $t->wait_for('its connections end', 10, sub { !Nucleus::Test::has_connections($pid) });
    my %seen = (
        answer  => $answer,
        threads => threads($pid),
        files   => scalar(Nucleus::Test::open_files($pid)),
    );
    is($t->stop('nginx'), 0, 'nginx ends');

    return \%seen;
}

my $without = look(load => '');
my $with = look();
is_deeply($with, $without, 'loaded and not used: same answer, threads and open files');
is($with->{threads}, 1, 'one thread');
ok(!-e $t->queue, 'no queue');

my $live = look(location => 'location / { nucleus_health live; }');
is($live->{threads}, 1, 'health live alone starts no thread');

$t->finish;
done_testing;
