#!/usr/bin/perl

# Clients that go away, at every stage: the server goes on, holds nothing of theirs, and what it
# acknowledged to others is stored.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Nucleus::Fault;
use Nucleus::Test;

my $t = Nucleus::Test->new(
    queue_options => 'min_free=0 segment=4m timeout=20s',
    server        => 'client_body_timeout 2s; client_header_timeout 2s; keepalive_timeout 3s;',
    http          => 'nucleus_max_inflight 8m;',
    locations     => 'location = /patient { nucleus auto; client_body_timeout 60s; }',
);

# so that "after the body, before the ack" is a stage that lasts
my $fault = Nucleus::Fault->new($t);
$t->start_nginx(env => $fault->env) or die "nginx does not start\n";
$t->start_worker or die "nucleus-worker does not start\n";

my ($nginx) = $t->nginx_workers;
my @json = ('Content-Type' => 'application/json');
my $number = 0;
my (%acked, %sent);

sub event {
    my ($size) = @_;

    my $id = 'gone-' . ++$number;
    $sent{$id} = 1;

    return sprintf '{"id":"%s","x":"%s"}', $id, 'x' x ($size - 20);
}

sub text { return Nucleus::Client::text('POST', $_[1] // '/events', [@json], $_[0]) }

sub good {
    my ($name) = @_;

    my $body = event(100);
    $acked{$1} = 1 if $body =~ /"id":"([^"]+)"/;
    $t->is_receipt($t->post('/events', $body), 1, $name);
}

# sockets and files alike
sub files { my @files = Nucleus::Test::open_files($nginx); return scalar @files }

# Large enough for the second queue, too, so that both have what they need open.
good('before');
$t->is_receipt($t->post('/events', event(400_000)), 1, 'before, a large one');
my $files = files();

# ---- one stage after the other, small and large bodies, three ways to go

my @way = (
    [ 'close'      => sub { $_[0]->close } ],
    [ 'reset'      => sub { $_[0]->reset } ],
    [ 'half close' => sub { $_[0]->half_close; push @{ $_[1] }, $_[0] } ],
);

for my $way (@way) {
    my ($name, $go) = @$way;

    for my $size (50, 9000, 500_000) {
        my @open;
        my $request = text(event($size));
        my $head = length($request) - $size;

        for my $at (0, 1, 20, $head - 2, $head, $head + 1, $head + int($size / 2), length($request) - 1) {
            my $c = $t->client;
            $c->send(substr($request, 0, $at));
            $go->($c, \@open);
        }

        # all of it, and gone before the ack
        $fault->set('sync-stall');
        my $hits = $fault->hits;

        for (1 .. 3) {
            my $c = $t->client;
            $c->send(text(event($size)));
            $t->wait_for('the sync has begun', 10, sub { $fault->hits > $hits });
            $go->($c, \@open);
        }

        $fault->clear;

        # and after the ack
        my $c = $t->client;
        my $body = event($size);
        $acked{$1} = 1 if $body =~ /"id":"([^"]+)"/;
        $c->send(text($body));
        $t->is_receipt($c->response, 1, "$name, $size bytes: a receipt");
        $go->($c, \@open);

        good("$name, $size bytes: the next client");
        $_->close for @open;
    }
}

# ---- slow ones

{
    my $c = $t->client;
    $c->send(Nucleus::Client::text('POST', '/events', [ @json, 'Content-Length' => 1000 ]) . '{"id":"slow"');
    my $r = $c->response(timeout => 20);
    ok($r ? $r->status == 408 : $c->closed(0), 'a body that does not come: 408, or closed');
    $t->is_problem($r, 408, 'request-timeout') if $r;
    $c->close;
    like($t->read_file('access.log'), qr/" 408 /, 'the access log says 408');

    # slow but steady is allowed
    $c = $t->client;
    my $body = event(40);
    my $request = text($body);
    $acked{$1} = 1 if $body =~ /"id":"([^"]+)"/;

    for my $byte (split //, $request) {
        $c->send($byte);
        $t->get('/live');
    }

    $t->is_receipt($c->response, 1, 'a byte at a time');
    $c->close;
}

# ---- many at once

for my $round (1 .. 5) {
    my @clients = map { $t->client } 1 .. 100;

    for my $i (0 .. $#clients) {
        my $size = $i % 10 == 0 ? 60_000 : 60;
        my $request = text(event($size));
        $clients[$i]->send(substr($request, 0, $i % 3 ? length $request : length($request) - 10));
    }

    $_->reset for @clients;
    good("after 100 resets, round $round");
}

# ---- half a body each, more together than may be in flight: they get their memory back

{
    my @clients = map { $t->client } 1 .. 20;
    my $half = Nucleus::Client::text('POST', '/patient', [ @json, 'Content-Length' => 1_000_000 ])
        . '{"id":"half","x":"' . 'x' x 600_000;

    my @refused = grep { $_->send($half) ; my $r = $_->response(timeout => 0.2); $r && $r->status == 503 } @clients;
    cmp_ok(scalar @refused, '>', 0, 'over nucleus_max_inflight: 503');
    cmp_ok(scalar @refused, '<', 20, 'but not all');
    $_->reset for @clients;

    $t->wait_for('the memory of the dead is free again', 20, sub {
        $t->post('/events', '{"id":"freed-' . ++$number . '","x":"' . 'x' x 900_000 . '"}')->status == 202;
    });
}

# ---- nothing is left of them

$t->wait_for('as many open files as before', 20, sub { files() <= $files }) && pass('no descriptor is left');
my @new = $t->nginx_workers;
is("@new", "$nginx", 'it is the same process');

my @events = $t->wait_events(sub { my %seen = map { $_->{id} => 1 } @_; !grep { !$seen{$_} } keys %acked });
my %count;
$count{ $_->{id} }++ for @events;
is(scalar(grep { $count{$_} != 1 } keys %count), 0, 'nothing twice');
is(scalar(grep { $_->{id} =~ /^(?:slow|half)$/ } @events), 0, 'nothing of half bodies');
is(scalar(grep { Nucleus::Store::sha256($_) ne $_->{data_sha256} } @events), 0, 'nothing changed');

$t->finish;
done_testing;
