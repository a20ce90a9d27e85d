#!/usr/bin/perl

# live and ready: ready says what a write would be told; and a write that cannot be taken is refused
# before its body is read, and taken again without a reload.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Nucleus::Fault;
use Nucleus::Test;

my $t = Nucleus::Test->new;
my $fault = Nucleus::Fault->new($t);

$t->start_nginx(env => $fault->env) or die "nginx does not start\n";
$t->start_worker or die "nucleus-worker does not start\n";

my @json = ('Content-Type' => 'application/json');

# ---- all is well

sub well {
    my ($when) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $r = $t->get('/health');
    is($r->status, 200, "$when: ready");
    is(($r->json // {})->{status}, 'ready', "$when: and says so");
    is($r->header('Cache-Control'), 'no-store', "$when: for no cache");
    is($t->get('/live')->status, 200, "$when: live");
    $t->is_receipt($t->post('/events', '{"good":1}'), 1, "$when: events are taken");
}

well('at first');

for my $uri (qw(/health /live)) {
    my $r = $t->request('HEAD', $uri, [], undef);
    is($r->status, 200, "HEAD $uri");
    is($t->request('DELETE', $uri, [], undef)->status, 405, "DELETE $uri: 405");
    is($t->request('GET', $uri, [], 'a body that nobody wants')->status, 200, "GET $uri with a body");
}

# ---- a write would be refused: how, and before the body is read

sub refused {
    my ($when, $type) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    $t->wait_for("$when: not ready", 20, sub { $t->get('/health')->status == 503 }) or return;

    my $r = $t->get('/health');
    $t->is_problem($r, 503, $type, {}, "$when: ready says why");
    like($r->header('Retry-After') // '', qr/^[1-9]\d*$/, "$when: Retry-After");
    is($t->get('/live')->status, 200, "$when: live all the same");

    # of the body only the length is sent; each of the two queues, for small and for large bodies,
    # looks once a second
    for my $length (100, 5_000_000) {
        my $c;

        $t->wait_for("$when: $length bytes are refused", 10, sub {
            $c = $t->client;
            $c->send(Nucleus::Client::text('POST', '/events', [ @json, 'Content-Length' => $length ]));
            $r = $c->response(timeout => 0.3);
        });
        $t->is_problem($r, 503, $type, { detail => qr/nothing was stored/ },
            "$when: refused before the body of $length bytes is read");
        like($r && $r->header('Retry-After') // '', qr/^[1-9]\d*$/, "$when: Retry-After");
        $c->close;
    }

    my $c = $t->client;
    $c->send(Nucleus::Client::text('POST', '/events', [ @json, 'Content-Length' => 100,
        Expect => '100-continue' ]));
    $r = $c->response(interim => 1, timeout => 10);
    $t->is_problem($r, 503, $type, {}, "$when: refused instead of 100 Continue");
    $c->close;

    is($t->post('/events', '{"bad":1}')->status, 503, "$when: refused with the body");
}

sub recovers {
    my ($when) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    $t->wait_ready(30);
    well($when);
}

# ---- the disk is full

$fault->set('space-none');
$t->write_confs(queue_options => 'min_free=1m segment=4m');
$t->reload;
refused('less free than min_free', 'queue-full');
$fault->clear;
recovers('after there was room again');

# ---- min_free is more than there is, and then is not

$t->write_confs(queue_options => 'min_free=1000000g segment=4m');
$t->reload;
refused('min_free is more than the disk has', 'queue-full');
$t->write_confs(queue_options => 'min_free=0 segment=4m');
$t->reload;
recovers('with another min_free');

# ---- the quota

$t->write_confs(queue_options => 'max_size=2m min_free=0 segment=256k');
$t->reload;
$t->stop('worker');

my ($taken, $r) = (0);
my $body = '{"good":"' . 'x' x 50_000 . '"}';

$t->wait_for('max_size is reached', 60, sub {
    $r = $t->post('/events', $body);
    $taken++ if $r->status == 202;
    return $r->status == 503;
});
cmp_ok($taken, '>=', 10, 'some fit in');
refused('max_size is reached', 'queue-full');
my @processes = $t->nginx_workers;

$t->start_worker;
recovers('after the worker has drained');
is(join(' ', $t->nginx_workers), "@processes", 'without a reload');

# ---- a disk that fails

$t->expect_log(qr/\[crit\].*nucleus queue for \w+ bodies accepts no events: .*sync/);
$t->write_confs(queue_options => 'min_free=0 segment=4m timeout=3s');
$t->reload;
$t->wait_ready;
$fault->set('sync-fail');
is($t->post('/events', '{"unknown":1}')->status, 503, 'a sync that fails: 503');
is($t->post('/events', '{"unknown":"' . 'x' x 500_000 . '"}')->status, 503, 'and one of large bodies');
refused('syncs fail', 'queue-failed');
$fault->clear;
recovers('after the disk is well again');

# ---- nothing that was refused is stored

my @events = $t->wait_events(sub { (grep { $_->{data} =~ /"good"/ } @_) >= $taken + 5 });
is(scalar(grep { $_->{data} =~ /"bad"/ } @events), 0, 'nothing that was refused is stored');
like($t->read_file('error.log'), qr/nucleus queue for \w+ bodies accepts events again/, 'the log says so');

$t->finish;
done_testing;
