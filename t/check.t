#!/usr/bin/perl

# nucleusctl check: an event from end to end, over HTTP and TLS, with a key and without; what it says when
# something on the way does not work, and the metrics that it leaves.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP ();
use Test::More;

use Nucleus::Metrics;
use Nucleus::Test;

my $t = Nucleus::Test->new(
    keys      => 1,
    api       => 'unix:%%DIR%%/worker.sock',
    http      => 'ssl_certificate %%DIR%%/cert.pem; ssl_certificate_key %%DIR%%/key.pem;',
    server    => 'listen 127.0.0.1:%%PORT2%% ssl;',
    pipeline  => 'batch_time 20ms;',
    locations => <<'END',
        location = /page   { return 202; }
        location = /ids    { return 202 '{"ids":["nothing"]}'; }
        location = /moved  { return 302 /events; }
        location = /slow   { return 502; }
END
);

$t->make_certificate;
$t->start;
$t->wait_for('the API answers', 30, sub { $t->api('/health')->status == 200 });

my $dir = $t->dir;
my $port = $t->port;
my $tls = $t->port2;
my $registry = $t->registry;
$registry->must(qw(tenant create nucleus-check));
$registry->must(qw(key create --tenant nucleus-check --to-file), "$dir/check.key");
my $secret = $t->read_file('check.key') =~ s/\n//r;
$t->wait_for('nginx knows the key', 10, sub { !@{ $registry->json('snapshot')->{behind} } });

my @url = ('--url' => "http://127.0.0.1:$port/events");
my @key = ('--key-file' => "$dir/check.key");
my @api = ('--api' => "unix:$dir/worker.sock");
my @store = ('--store' => $t->store);
my @textfile = ('--textfile' => "$dir/nucleus_check.prom");
my $rid = qr/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/;

sub check { return $t->run([ Nucleus::Test::ctl_binary(), 'check', @_ ]) }

sub page {
    my $page = Nucleus::Metrics->new($t->read_file('nucleus_check.prom'));
    is(join("\n", $page->errors), '', 'metrics to the format');
    return $page;
}

# ---- it arrives

for my $case ([ 'by the API', @api ], [ 'by the store', @store ], [ 'by both', @api, @store ]) {
    my ($name, @how) = @$case;
    my ($status, $out) = check(@url, @key, @how, @textfile);
    is($status, 0, "delivered: $name") or diag($out);
    like($out, qr/^event $rid\naccepted after \d+\.\d{3} s\ndelivered after \d+\.\d{3} s\n\z/, 'and says how long it took');
    unlike($out, qr/\Q$secret\E/, 'but not the key');
    my ($id) = $out =~ /($rid)/;
    ok(scalar(grep { $_->{rid} eq $id } $t->wait_events(1)), 'it is in the store when that is said') if $name ne 'by the API';
    my $page = page();
    is($page->value('nucleus_check_success'), 1, 'a success');
    cmp_ok($page->value('nucleus_check_duration_seconds'), '<', 30, 'its time');
    cmp_ok(abs(time - $page->value('nucleus_check_timestamp_seconds')), '<', 60, 'and when it was');
}

is((stat "$dir/nucleus_check.prom")[2] & 07777, 0644, 'the exporter may read that');
is_deeply([ glob "$dir/nucleus_check*" ], [ "$dir/nucleus_check.prom" ], 'and nothing half written lies beside it');

my ($status, $out) = check(@url, @key, @api, '--json');
my $json = eval { JSON::PP::decode_json($out) } // {};
ok($status == 0 && $json->{success} && $json->{rid} =~ /^$rid$/ && $json->{delivered_seconds} >= $json->{accepted_seconds}, '--json')
    or diag($out);

my @https = ('--url' => "https://127.0.0.1:$tls/events");
($status, $out) = check(@https, @key, @api, '--ca' => "$dir/cert.pem");
is($status, 0, 'TLS') or diag($out);
($status, $out) = check(@https, @key, @api);
is($status, 1, 'a certificate that nobody vouches for');
like($out, qr/no answer from .*certificate.*\n.*hint: --ca FILE/, 'says what to do');
($status, $out) = check('--url' => "https://localhost.:$tls/events", @key, @api, '--ca' => "$dir/cert.pem");
is($status, 1, 'a certificate of another name');

# ---- it is not accepted

sub refused {
    my ($name, $pattern, @args) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    unlink "$dir/nucleus_check.prom";
    my ($status, $out) = check(@args, @textfile);
    is($status, 1, "$name: 1");
    like($out, $pattern, "$name: says why");
    unlike($out, qr/\Q$secret\E/, "$name: not the key");
    is(page()->value('nucleus_check_success'), 0, "$name: no success");
}

my $revoked = $registry->json(qw(key create --tenant nucleus-check --to-file), "$dir/revoked.key");
$registry->must(qw(key revoke), $revoked->{id});
$t->write_file('no.key', "secret\n");
$t->write_file('two.key', "$secret\n$secret\n");

refused('without a key', qr/answers 401 missing-credentials/, @url, @api);
refused('a revoked key', qr/answers 403 key-revoked/, @url, @api, '--key-file' => "$dir/revoked.key");
refused('a file without a key', qr/no\.key" holds no API key/, @url, @api, '--key-file' => "$dir/no.key");
refused('a file with two', qr/two\.key" holds no API key/, @url, @api, '--key-file' => "$dir/two.key");
refused('no file', qr/none\.key/, @url, @api, '--key-file' => "$dir/none.key");
refused('another page', qr/answers 202, but with no receipt/, '--url' => "http://127.0.0.1:$port/page", @key, @api);
refused('no receipt', qr/answers 202, but with no receipt/, '--url' => "http://127.0.0.1:$port/ids", @key, @api);
refused('moved: not followed', qr/answers 302\n/, '--url' => "http://127.0.0.1:$port/moved", @key, @api);
refused('a gateway', qr/answers 502\n/, '--url' => "http://127.0.0.1:$port/slow", @key, @api);
refused('nobody there', qr/no answer from/, '--url' => 'http://127.0.0.1:1/events', @key, @api);
refused('a key without TLS', qr/is not sent to "http:.*others could read it/, '--url' => 'http://192.0.2.1/events', @key, @api);
refused('a host that begins like this one', qr/is not sent to/, '--url' => 'http://127.0.0.1.example/events', @key, @api);
refused('another protocol', qr/is not sent to|no answer|is no address/, '--url' => 'file:///etc/passwd', @key, @api);
refused('no address', qr/is no address/, '--url' => 'http://[', @key, @api);
refused('no worker', qr/no answer from "\Q$dir\E\/none\.sock".*\n.*does the worker run/, @url, @key, '--api' => "unix:$dir/none.sock");

{
    local $ENV{http_proxy} = 'http://127.0.0.1:1/';
    is((check(@url, @key, @api))[0], 0, 'a proxy of the environment is not asked');
}

chmod 0644, "$dir/check.key";
($status, $out) = check(@url, @key, @api);
ok($status == 0 && $out =~ /warning: everybody can read the key/, 'a key that everybody can read is warned of') or diag($out);
chmod 0600, "$dir/check.key";

# ---- it does not come out

my @brief = ('--timeout' => '1s');
($status, $out) = check(@url, @key, @store, @brief, '--tenant' => 'other');
is($status, 4, 'not in the store of that tenant: 4');
like($out, qr/was accepted, and not delivered within 1 s: it is not in|was accepted, and not delivered within 1 s: the store has no/, 'says that it was accepted');
($status, $out) = check(@url, @key, '--store' => "$dir/nothing", @brief);
is($status, 4, 'no store at all: 4');

my ($pipeline) = $t->status->{process}{pid};
kill STOP => $pipeline;
($status, $out) = check(@url, @key, @api, @brief, @textfile);
kill CONT => $pipeline;
is($status, 4, 'a pipeline that hangs: 4');
like($out, qr/pipeline store has \d+ records of a writer before it/, 'which one');
like($out, qr/^event $rid\naccepted after /m, 'when it was accepted');
unlike($out, qr/^delivered/m, 'and nothing else');
is(page()->value('nucleus_check_success'), 0, 'no success');
cmp_ok(page()->value('nucleus_check_duration_seconds'), '>=', 0.9, 'after the time that was waited');
is((check(@url, @key, @api))[0], 0, 'it goes on');

$t->write_confs(pipeline => 'tenants north;');
is(($t->worker('-s', 'reload'))[0], 0, 'a filter that does not let it through');
$t->wait_for('the configuration is taken', 30, sub { $t->read_file('worker.out') =~ /pipeline was changed/ });
($status, $out) = check(@url, @key, @api, @brief);
is($status, 4, 'filtered: 4');
like($out, qr/no pipeline has delivered anything since\n.*filters/, 'says so');

# ---- the command line

for my $case (
    [ 'no address', qr/needs --url/ ],
    [ 'a time', qr/"soon"/, @url, '--timeout' => 'soon' ],
    [ 'an API that is none', qr{not "unix:/PATH"}, @url, '--api' => '127.0.0.1:80' ],
    [ 'a tenant', qr/not the name of a tenant/, @url, '--tenant' => '../x' ],
) {
    my ($name, $pattern, @args) = @$case;
    ($status, $out) = check(@args);
    ok($status == 2 && $out =~ $pattern, "$name: 2") or diag($out);
}

($status, $out) = check(@url, @key, @store, '--timeout' => '100ms', '--textfile' => "$dir/none/x.prom");
isnt($status, 0, 'metrics that cannot be written are no success');

$t->finish;
done_testing;
