#!/usr/bin/perl

# A sync that fails, or does not return: the client is told that nobody knows, with the ids; nginx
# goes on, recovers by itself, and ends in bounded time.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(time);

use Nucleus::Fault;
use Nucleus::Test;

my $t = Nucleus::Test->new(
    queue_options => 'min_free=0 segment=4m timeout=2s',
    locations     => 'location = /static { return 200 "static\n"; }',
);
my $fault = Nucleus::Fault->new($t);

# what the log rightly says of such a disk
$t->expect_log(qr/\[crit\].*nucleus queue for \w+ bodies accepts no events: .*(?:sync|has not answered)/);

$t->start_nginx(env => $fault->env) or die "nginx does not start\n";
$t->start_worker or die "nucleus-worker does not start\n";

my @json = ('Content-Type' => 'application/json');
my (%acked, %unknown, %refused);
my $number = 0;

# Post one event; where its id goes depends on the answer.
sub send_one {
    my ($size) = @_;

    my $id = 'sync-' . ++$number;
    my $r = $t->post('/events', qq({"id":"$id","x":") . 'x' x ($size // 10) . '"}');
    my $type = ($r->json // {})->{type} // '';
    my $to = $r->status == 202 ? \%acked : $type =~ /outcome-unknown/ ? \%unknown : \%refused;
    $to->{$id} = ($r->json // {})->{ids};

    return $r;
}

sub unknown {
    my ($name, $size) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $r = send_one($size);
    $t->is_problem($r, 503, 'outcome-unknown', {}, "$name: outcome-unknown");
    my $ids = ($r->json // {})->{ids} // [];
    is(scalar @$ids, 1, "$name: with the id");
    like($r->header('Retry-After') // '', qr/^[1-9]\d*$|^$/, "$name: Retry-After is a number if it is there");

    return $r;
}

sub recovers {
    my ($name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    $t->wait_ready(30);
    is(send_one()->status, 202, "$name: taken again");
    $t->wait_for("$name: large bodies too", 20, sub { send_one(300_000)->status == 202 });
}

is(send_one()->status, 202, 'at first all is well');
is(send_one(300_000)->status, 202, 'with large bodies, too');

# ---- slow, but within the time

$fault->set('sync-slow');
is(send_one()->status, 202, 'a slow sync: taken');
$fault->clear;

# ---- fails

$fault->set('sync-fail');
my $begin = time;
my $failed = unknown('a failed sync');
cmp_ok(time - $begin, '<', 2, 'said at once');
$t->wait_for('a failed sync: not ready', 10, sub { $t->get('/health')->status == 503 });
is(send_one()->status, 503, 'refused while syncs fail');
is(scalar keys %refused, 1, 'and not in doubt: the disk is tried before events are taken again');
$fault->clear;
recovers('after failed syncs');

# ---- stalls

for my $size (10, 300_000) {
    $fault->set('sync-stall');
    $begin = time;
    unknown("a stalled sync, $size bytes", $size);
    my $took = time - $begin;
    cmp_ok($took, '>=', 1.9, 'not before timeout=');
    cmp_ok($took, '<', 8, 'and not long after');

    my $r = $t->get('/static');
    is($r->status, 200, 'nginx answers others');
    is($t->get('/live')->status, 200, 'and is live');

    # several wait together, one of them goes away
    my @clients = map { $t->client } 1 .. 5;
    my @ids = map { 'sync-' . ++$number } @clients;
    $clients[$_]->send(Nucleus::Client::text('POST', '/events', [@json], qq({"id":"$ids[$_]"}))) for 0 .. 4;
    my $gone = pop @clients;
    $gone->reset;
    $unknown{ pop @ids } = [];

    for my $i (0 .. 3) {
        my $answer = $clients[$i]->response;
        my $type = $answer ? ($answer->json // {})->{type} // '' : 'none';
        my $to = $answer && $answer->status == 202 ? \%acked : $type =~ /unknown/ ? \%unknown : \%refused;
        $to->{ $ids[$i] } = [];
        ok($answer && $answer->status =~ /^(?:202|503)$/, 'another that waits is answered');
        $clients[$i]->close;
    }

    $fault->clear;
    recovers('after a stall');
}

# ---- quitting and reloading while the disk does not answer

$fault->set('sync-stall');
my $c = $t->client;
my $last = 'sync-' . ++$number;
$unknown{$last} = [];
my $hits = $fault->hits;
$c->send(Nucleus::Client::text('POST', '/events', [@json], qq({"id":"$last"})));
$t->wait_for('the sync has begun', 10, sub { $fault->hits > $hits });

$t->expect_log(qr/nucleus queue for \w+ bodies was left/);
$begin = time;
my %old = map { $_ => 1 } $t->nginx_workers;
$t->signal('HUP', 'nginx');
my $r = $c->response;
ok($r && $r->status == 503, 'the one that waits is answered during a reload');
$c->close;
$t->wait_for('the old process has ended, stalled or not', 20, sub { !grep { $old{$_} } $t->children('nginx') });
cmp_ok(time - $begin, '<', 15, 'in bounded time');

$begin = time;
is($t->stop('nginx', 'QUIT', 20), 0, 'nginx ends while the disk does not answer');
cmp_ok(time - $begin, '<', 15, 'in bounded time');
$fault->clear;

# ---- what of all that is stored

$t->start_nginx(env => $fault->env) or die "nginx does not start again\n";
is(send_one()->status, 202, 'taken after a new start');

my @events = $t->wait_events(sub { my %seen = map { $_->{id} => 1 } @_; !grep { !$seen{$_} } keys %acked });
my (%count, %rid);

for my $event (@events) {
    $count{ $event->{id} }++;
    $rid{ $event->{id} } = $event->{rid};
}

is(scalar(grep { $count{$_} != 1 } keys %acked), 0, 'each acknowledged event once');
is(scalar(grep { ($count{$_} // 0) > 1 } keys %unknown), 0, 'those in doubt at most once');
is(scalar(grep { $count{$_} } keys %refused), 0, 'those refused never');
is(scalar(grep { $count{$_} && @{ $unknown{$_} // [] } && $unknown{$_}[0] ne $rid{$_} } keys %unknown), 0,
    'by the ids that the problem told');

$t->finish;
done_testing;
