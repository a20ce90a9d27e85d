#!/usr/bin/perl

# The examples of conf-examples/ that need nothing but nginx and the worker: each is started as it is
# shipped (see Nucleus::Example) and does what its first lines say. quickstart.t, mirror.t and
# shippers.t have the others.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use File::Basename qw(basename);
use JSON::PP ();
use Test::More;

use Nucleus::Example;
use Nucleus::Test;

my $root = $Nucleus::Test::ROOT;

# ---- none is without a test

my $tests = join '', map { Nucleus::Test->read_file($_) } glob "$root/t/*.t";
my $readme = Nucleus::Test->read_file("$root/conf-examples/README.md");

for my $file (map { s{^\Q$root\E/conf-examples/}{}r } glob "$root/conf-examples/*.conf $root/conf-examples/shippers/*") {
    ok($tests =~ /(?<![\w-])\Q@{[ basename($file) ]}\E(?![\w-])/, "$file has a test");
    ok(index($readme, "($file)") >= 0, "$file is in conf-examples/README.md");
}

# ---- beside an existing site

existing_site();

sub existing_site {
    my $marked = qr/^ *# Nucleus\n.*?^ *# end of Nucleus\n\n?/ms;
    my $without = 0;
    my $application = <<'END';

    server {
        listen 127.0.0.1:8081;
        location / { return 200 "$request_method $request_uri $http_host $http_x_test\n"; }
    }
}
END
    my %variant = map {
        my $strip = $_;
        ($strip => sub {
            $without = s/$marked//g if $strip;
            s/\}\s*\z/$application/;
        });
    } 0, 1;

    my $x = Nucleus::Example->new('existing-site.conf', 'worker.conf', edit => $variant{1});
    my $t = $x->{t};
    is($without, 3, 'existing-site: three places were added');
    unlike($t->read_file('nginx.conf') =~ s/nucleus-test//gr, qr/nucleus/i, 'existing-site: and nothing else has to do with Nucleus');

    $t->write_file("srv/www/$_", "this is $_\n") for qw(index.html style.css 404.html 50x.html docs/index.html docs/a.bin);
    my $key = $x->{registry}->key;

    my %before = site($x);
    $t->write_confs(nginx => $x->nginx(edited('existing-site.conf', $variant{0})));
    my %after = site($x, $key);

    for my $request (sort keys %before) {
        is($after{$request}, $before{$request}, "existing-site: $request is answered as before");
    }

    $t->finish;
}

sub edited {
    my ($name, $edit) = @_;

    local $_ = Nucleus::Test->read_file("$root/conf-examples/$name");
    $edit->();

    return $_;
}

# What the site answers to everything, by request; with a key, events go in beside it.
sub site {
    my ($x, $key) = @_;

    my $t = $x->{t};
    my %answer;

    $t->start_nginx or BAIL_OUT('existing-site: nginx does not start');

    for my $request ('GET /', 'HEAD /', 'GET /index.html', 'GET /style.css', 'GET /docs', 'GET /docs/', 'GET /docs/a.bin',
        'GET /none', 'POST /none', 'GET /events/', 'GET /event', 'DELETE /index.html', 'GET /app/x?y=1', 'POST /app/x',
        'PUT /app/a%20b') {
        my ($method, $uri) = split / /, $request;
        my $r = $t->request($method, $uri, [ 'X-Test' => 'kept' ], $method =~ /^P/ ? 'a=b' : undef);
        $answer{$request} = join "\n", $r->{line}, (map { "@$_" } grep { $_->[0] ne 'date' } @{ $r->{headers} }), $r->body;
    }

    if (!$key) {
        is($t->post('/events', '{}')->body, "this is 404.html\n", 'existing-site: there is nothing at /events before');

    } else {
        $t->start_worker or BAIL_OUT('existing-site: the worker does not start');
        $t->is_receipt($t->post('/events', '{"id":"site"}', headers => $key->{bearer}), 1, 'existing-site: an event is taken');
        $t->is_problem($t->post('/events', '{"id":"site"}'), 401, 'missing-credentials', {}, 'existing-site: not without a key');
        $t->is_problem($t->post('/events', '{"id":', headers => $key->{bearer}), 400, 'invalid-json', {},
            'existing-site: agents get problems, not the pages of the site');
        my ($event) = $t->wait_events(1);
        is($event->{id}, 'site', 'existing-site: and is stored');
    }

    is($t->stop('nginx'), 0, 'existing-site: nginx ends');

    return %answer;
}

# ---- TLS, keys, certificates, a load balancer

tls_keys();

sub tls_keys {
    my $balancer = '127.0.0.2';
    my $x = Nucleus::Example->new('tls-keys.conf', 'worker.conf', edit => sub {
        is(s/192\.0\.2\.10/$balancer/, 1, 'tls-keys: the address of the load balancer');
    });
    my ($t, $registry) = ($x->{t}, $x->{registry});
    my $dir = $t->dir;

    $t->make_authority('ca');
    $t->make_client_certificate($_, 'ca') for qw(meter stranger);
    $t->write_file('etc/nucleus/agents-ca.pem', $t->read_file('ca.pem'));

    my $gateway = $registry->key(tenant => 'north', name => 'gateway', scope => 'collect', stream => 'readings', expires => '365d');
    my $meter = $registry->key(tenant => 'north', name => 'meter', certificate => "$dir/meter.pem");
    my $reader = $registry->key(tenant => 'north', scope => 'read');
    my $bound = $registry->key(tenant => 'south', from => '198.51.100.0/24');

    $t->start_nginx(ready => 0) or BAIL_OUT('tls-keys: nginx does not start');
    $t->start_worker or BAIL_OUT('tls-keys: the worker does not start');

    my ($url, $admin) = map { $_->[0] . '://localhost:' . $x->port($_->[1]) } [ https => 443 ], [ http => 8081 ];

    like($x->curl("$admin/metrics")->body, qr/^nucleus_build_info\{/m, 'TLS and keys: metrics of nginx');
    $x->{t}->wait_for('TLS and keys: metrics of the worker', 20,
        sub { $x->curl("$admin/worker/metrics")->body =~ /^nucleus_pipeline_up\{pipeline="store"\} 1$/m });
    my @gateway = Nucleus::Example::with_key($gateway);

    my $number = 0;
    my $taken = sub {
        my ($name, @args) = @_;
        $t->is_receipt($x->post("$url/in/readings", sprintf('{"id":"t%d"}', ++$number), @args), 1, "tls-keys: $name");
    };
    my $refused = sub {
        my ($status, $type, $uri, @args) = @_;
        $t->is_problem($x->post("$url$uri", '{"id":"refused"}', @args), $status, $type, {}, "tls-keys: $status $type");
    };

    my $r = $x->post("$url/in/readings", sprintf('{"id":"t%d"}', ++$number), @gateway);
    $t->is_receipt($r, 1, 'tls-keys: a key');
    is(join(' ', sort(($r->header('RateLimit-Policy') // '') =~ /"([\w-]+)";q=(\d+)/g)),
        '1000 2000 50000 address-requests key-requests tenant-events', 'tls-keys: the limits are those of the file');

    $refused->(403, 'stream-not-allowed', '/in/alarms', @gateway);
    is($x->post("$url/in/other", '{}', @gateway)->status, 404, 'tls-keys: another stream has no address');
    $refused->(401, 'missing-credentials', '/in/readings');
    $refused->(403, 'insufficient-scope', '/in/readings', Nucleus::Example::with_key($reader));

    $taken->('a certificate in place of a key', '--cert', "$dir/meter.pem", '--key', "$dir/meter.key");
    $refused->(401, 'unknown-certificate', '/in/readings', '--cert', "$dir/stranger.pem", '--key', "$dir/stranger.key");
    like($x->curl('http://localhost:' . $x->port(443) . '/in/readings')->body, qr/plain HTTP request was sent to HTTPS port/,
        'tls-keys: nothing without TLS');

    my @bound = (Nucleus::Example::with_key($bound), '-H', 'X-Forwarded-For: 198.51.100.7');
    $taken->('the load balancer is believed', @bound, '--interface', $balancer);
    $refused->(403, 'address-not-allowed', '/in/readings', @bound);

    my $events = sub { '[' . join(',', ('{"a":1}') x $_[0]) . ']' };
    $t->is_problem($x->post("$url/in/readings", $events->(501), @gateway), 413, 'too-many-events', {}, 'tls-keys: 501 events');
    $t->is_problem($x->post("$url/in/readings", '@' . $t->write_file('big', '{"a":"' . 'x' x 262_144 . '"}'), @gateway),
        413, 'event-too-large', {}, 'tls-keys: an event over 256k');

    for my $state (qw(ready live)) {
        is($x->curl("$admin/$state")->status, 200, "tls-keys: $state for this machine");
        is($x->curl("$url/$state")->status, 404, "tls-keys: $state for nobody else");
    }

    my @stored = $t->wait_events($number);
    is_deeply([ sort map { $_->{key_id} } @stored ], [ sort map { $_->{id} } $gateway, $meter, $bound ],
        'tls-keys: each event is stored once, under its key');
    is_deeply([ sort map { "$_->{tenant} $_->{stream}" } @stored ],
        [ 'north readings', 'north readings', 'south readings' ], 'tls-keys: tenant by key, stream by address');

    stock_log($x, $url, $gateway, $reader, $number);

    $t->finish;
}

# The stock log_format: every line has its fields, and none of them a secret.
sub stock_log {
    my ($x, $url, $key, $other, $taken) = @_;

    my $t = $x->{t};
    my $forged = '/in/a%22%20202%20-%20-%201%20log%0a2026-11-21T00:00:00+00:00%20POST';

    $x->post("$url/in/readings?token=$key->{key}&x=hidden", '{"id":', Nucleus::Example::with_key($key));
    $x->post("$url/in/readings", '{}', '-u', "$key->{id}:$key->{key}");
    $x->post("$url/in/readings", '{}', '-H', "X-API-Key: $other->{key}");
    $x->post("$url/in/readings", '{}', '-H', 'Authorization: Bearer ' . substr $key->{key}, 0, 60);
    $x->curl("$url$forged");
    is($t->stop('nginx'), 0, 'tls-keys: nginx ends');

    my @lines = split /\n/, $t->read_file('nucleus.log');
    cmp_ok(scalar @lines, '>', 15, 'log: a line for each request');

    my $name = qr/(?:[a-z0-9][a-z0-9._-]*|-)/;
    my $fields = qr/^\d{4}-\d\d-\d\dT[\d:]{8}[+-]\d\d:\d\d [A-Z]+ "[^"]*" \d{3} $name (?:[0-9a-z]{12}|-) (?:\d+|-) (?:log|-) \d+\.\d{3} [a-z-]+ [0-9a-f]{32}$/;
    my @wrong = grep { !/$fields/ } @lines;
    is("@wrong", '', 'log: each line has its eleven fields');
    is(scalar(grep { /" 202 / } @lines), $taken + 1, 'log: those that were taken, and nobody forges one');
    like($lines[-1], qr{ GET "/in/a\\x22 202 - - 1 log\\x0A}, 'log: an address with quotes and line ends stays one field');
    is(scalar(grep { m{"/in/readings" 403 north $other->{id} \S+ \S+ \S+ insufficient-scope } } @lines), 2, 'log: who was refused, and why');

    for my $secret (substr($key->{key}, 17), substr($key->{key}, 17, 40), substr($other->{key}, 17), 'hidden', '?') {
        is(scalar(grep { index($_, $secret) >= 0 } @lines), 0, 'log: no secret and no query');
    }
}

# ---- three device streams

devices();

sub devices {
    my $x = Nucleus::Example->new('devices.conf', 'devices-worker.conf');
    my $t = $x->{t};
    my @streams = qw(interactions sensors transactions);
    my %key = map { $_ => $x->{registry}->key(tenant => 'fleet', stream => $_) } @streams;

    $t->start_nginx(ready => 0) or BAIL_OUT('devices: nginx does not start');
    $t->start_worker or BAIL_OUT('devices: the worker does not start');

    my $url = 'https://localhost:' . $x->port(443) . '/v1';

    for my $stream (@streams) {
        for my $of (@streams) {
            my $r = $x->post("$url/$stream", qq({"id":"$of-$stream"}), Nucleus::Example::with_key($key{$of}));

            if ($of eq $stream) {
                $t->is_receipt($r, 1, "devices: the key for $of at $stream");
            } else {
                $t->is_problem($r, 403, 'stream-not-allowed', {}, "devices: the key for $of at $stream");
            }
        }
    }

    is($x->post("$url/else", '{}', Nucleus::Example::with_key($key{sensors}))->status, 404, 'devices: no other stream');

    my $many = sub {
        my $file = $t->write_file('many', '[' . join(',', map { qq({"id":"s$_"}) } 1 .. $_[0]) . ']');
        return $x->post("$url/sensors", "\@$file", Nucleus::Example::with_key($key{sensors}));
    };
    $t->is_receipt($many->(5000), 5000, 'devices: 5000 readings at once');
    $t->is_problem($many->(5001), 413, 'too-many-events', {}, 'devices: 5001 are too many');

    my %want = (interactions => 1, sensors => 5001, transactions => 1);

    for my $stream (@streams) {
        my @events = $t->wait_events($want{$stream}, $x->path("/srv/nucleus/$stream"), 60);
        is(scalar @events, $want{$stream}, "devices: the store of $stream");
        is(scalar(grep { $_->{stream} ne $stream || $_->{tenant} ne 'fleet' || $_->{key_id} ne $key{$stream}{id} } @events), 0,
            "devices: it has nothing else");
    }

    for my $stream (@streams) {
        my $status;
        $t->wait_for("devices: the pipeline $stream has seen all", 30,
            sub { $status = $t->status($stream); $status && $status->{read} == 5003 });
        is($status->{delivered}, $want{$stream}, "devices: the pipeline $stream delivered its own");
        is($status->{filtered}, 5003 - $want{$stream}, 'devices: and passed over the others');
    }

    is($x->curl('http://localhost:' . $x->port(8081) . '/ready')->status, 200, 'devices: ready');
    $t->finish;
}

done_testing;
