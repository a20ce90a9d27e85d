#!/usr/bin/perl

# A disk that is full, and comes back: 503 while it is, nothing of what was acknowledged is lost,
# nothing of what was refused appears.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use Test::More;
use Time::HiRes qw(time);

use Nucleus::Disk;
use Nucleus::Fault;
use Nucleus::Test;

Nucleus::Disk::namespace();

my $number = 0;

# One event; its id, hash and answer go into the ledger.
sub send_one {
    my ($t, $ledger, $size) = @_;

    my $id = 'disk-' . ++$number;
    my $body = qq({"id":"$id","x":") . 'x' x $size . '"}';
    my $r = $t->post('/events', $body);

    $ledger->{$id} = { status => $r->status, sha256 => sha256_hex($body), type => ($r->json // {})->{type} // '' };

    return $r;
}

# Both queues, the one of small and the one of large bodies, until each has refused.  A worker that
# runs makes room, which the disk's other user takes.
sub send_until_refused {
    my ($t, $ledger, $disk) = @_;

    for my $size (20_000, 300_000) {
        my $end = time + 30;
        my $status;

        do {
            Nucleus::Disk::fill($disk) if $disk;
            $status = send_one($t, $ledger, $size)->status;
        } while ($status != 503 && time < $end);

        is($status, 503, "events of $size bytes are refused");
    }
}

sub check {
    my ($t, $ledger, $name) = @_;

    my %want = map { $_ => 1 } grep { $ledger->{$_}{status} == 202 } keys %$ledger;
    my @events = $t->wait_events(sub {
        my %seen = map { $_->{id} => 1 } @_;
        return !grep { !$seen{$_} } keys %want;
    });
    my %count;
    $count{ $_->{id} }++ for @events;

    is(scalar(grep { $count{$_} != 1 } keys %want), 0, "$name: each acknowledged event once");
    is(scalar(grep { Nucleus::Store::sha256($_) ne $ledger->{ $_->{id} }{sha256} } @events), 0,
        "$name: unchanged");

    my @refused = grep { $ledger->{$_}{status} == 503 && $ledger->{$_}{type} !~ /outcome-unknown/ } keys %$ledger;
    cmp_ok(scalar @refused, '>=', 2, "$name: some were refused");
    is(scalar(grep { $count{$_} } @refused), 0, "$name: nothing that was refused is there");
    is(scalar(grep { $ledger->{$_}{status} !~ /^(?:202|503)$/ } keys %$ledger), 0,
        "$name: 202 or 503, nothing else");
}

sub comes_back {
    my ($t, $ledger) = @_;

    $t->wait_ready(30);

    for my $size (20_000, 300_000) {
        $t->wait_for("events of $size bytes are taken again", 20, sub { send_one($t, $ledger,
            $size)->status == 202 });
    }
}

# ---- by command, at every stage of a segment's life: no room to write, none to begin

{
    my $t = Nucleus::Test->new(queue_options => 'min_free=0 segment=64k');
    my $fault = Nucleus::Fault->new($t);
    my %ledger;

    $t->start_nginx(env => $fault->env) or die "nginx does not start\n";
    $t->start_worker or die "nucleus-worker does not start\n";

    for my $before (0, 1, 3, 4) {
        send_one($t, \%ledger, 20_000) for 1 .. $before;
        $fault->set('space-none');
        send_until_refused($t, \%ledger);
        $fault->clear;
        comes_back($t, \%ledger);
    }

    check($t, \%ledger, 'by command');
    $t->finish;
}

# ---- a small file system, filled up; a second round, and one in which nginx starts on a full disk

my $t = Nucleus::Test->new(queue_options => 'min_free=0 segment=256k');
my $disk = Nucleus::Disk::mount($t, 'queue', 24 << 20);

if ($disk) {
    my %ledger;
    my $ballast;

    $t->expect_log(qr/keeper's round failed.*No space left/);

    $t->start;

    for my $round (1 .. 2) {
        comes_back($t, \%ledger);
        $ballast = Nucleus::Disk::fill($disk);
        send_until_refused($t, \%ledger, $disk);
        unlink $ballast or die "unlink of $ballast failed: $!\n";
        comes_back($t, \%ledger);
    }

    # the worker does not run, so that the queue itself fills the disk
    is($t->stop('worker'), 0, 'nucleus-worker ends');
    send_until_refused($t, \%ledger);
    is($t->stop('nginx'), 0, 'nginx ends on a full disk');
    Nucleus::Disk::fill($disk);
    $t->start_nginx(ready => 0) or die "nginx does not start on a full disk\n";
    is($t->get('/live')->status, 200, 'nginx starts on a full disk, and is live');
    is(send_one($t, \%ledger, 2000)->status, 503, 'but takes nothing');

    unlink $ballast;
    $t->start_worker or die "nucleus-worker does not start\n";
    comes_back($t, \%ledger);
    check($t, \%ledger, 'a small disk');

} else {
    # nothing may be mounted here, not even in a namespace
    diag('no small file system can be had: only faults by command were tested');
}

# ---- the disk of the store: the pipeline waits, nginx goes on, nothing is lost

if ($disk) {
    my %ledger;
    my $u = Nucleus::Test->new;
    my $store = Nucleus::Disk::mount($u, 'store', 16 << 20);

    $u->expect_log(qr/pipeline failed, will open it again.*No space left/);
    $u->start;
    send_one($u, \%ledger, 2000) for 1 .. 10;
    $u->wait_events(10);

    my $ballast = Nucleus::Disk::fill($store);

    for (1 .. 20) {
        is(send_one($u, \%ledger, 300_000)->status, 202, 'nginx takes events') or last;
    }

    $u->wait_for('the pipeline says so', 20, sub { $u->read_file('worker.out') =~ /pipeline failed/ });
    unlink $ballast;

    # it tries again after 0.1 s, doubling to 30 s
    my @all = $u->wait_events(30, undef, 60);
    is(scalar @all, 30, 'all is stored when there is room again');
    my %count;
    $count{ $_->{id} }++ for @all;
    is(scalar keys %count, 30, 'once');
    is(scalar(grep { Nucleus::Store::sha256($_) ne $ledger{ $_->{id} }{sha256} } @all), 0, 'unchanged');
    $u->finish;
}

$t->finish;
done_testing;
