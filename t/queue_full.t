#!/usr/bin/perl

# The quota: at max_size events are refused, those that were taken stay, and as the worker removes
# what it has passed there is room again.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use Test::More;

use Nucleus::Test;

my $number = 0;

# Post until it is refused; what was taken goes into the hash, id => sha256.
sub fill {
    my ($t, $acked, $size, $most) = @_;

    my $r;
    my $c = $t->client;

    for (1 .. $most) {
        my $id = 'full-' . ++$number;
        my $body = qq({"id":"$id","x":") . 'x' x $size . '"}';
        $r = $c->request('POST', '/events', [ 'Content-Type' => 'application/json' ], $body);

        if (!$r) {
            $c = $t->client;
            next;
        }

        last if $r->status != 202;
        $acked->{$id} = sha256_hex($body);
    }

    return $r;
}

sub queue_size {
    my ($t) = @_;

    my $size = 0;
    $size += -s $_ // 0 for glob $t->queue . '/*/*';

    return $size;
}

sub stored {
    my ($t, $acked, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my @events = $t->wait_events(sub {
        my %seen = map { $_->{id} => 1 } @_;
        return !grep { !$seen{$_} } keys %$acked;
    });

    is(scalar @events, scalar keys %$acked, "$name: what was acknowledged is stored once, and nothing else");
    is(scalar(grep { $acked->{ $_->{id} } ne Nucleus::Store::sha256($_) } @events), 0, "$name: unchanged");
}

# ---- small and large bodies, without a worker and with it

for my $size (1000, 300_000) {
    my $t = Nucleus::Test->new(queue_options => 'max_size=2m min_free=0 segment=256k');
    my %acked;

    $t->start_nginx or die "nginx does not start\n";

    my $r = fill($t, \%acked, $size, 10_000);
    $t->is_problem($r, 503, 'queue-full', {}, "$size bytes: full");
    like($r->header('Retry-After'), qr/^[1-9]\d*$/, 'Retry-After');
    cmp_ok(queue_size($t), '>=', 2 << 20, 'not before max_size is reached');

    # the flusher looks once a second, and after each group that may fill it up
    cmp_ok(queue_size($t), '<', 4 << 20, 'and not long after');

    my $before = queue_size($t);
    fill($t, \%acked, $size, 1) for 1 .. 20;
    cmp_ok(queue_size($t) - $before, '<', 1 << 20, 'a full queue does not grow');

    # a restart of nginx changes nothing
    is($t->stop('nginx'), 0, 'nginx ends');
    $t->start_nginx(ready => 0);
    $t->wait_for('full still', 10, sub { fill($t, \%acked, $size, 1)->status == 503 });

    $t->start_worker or die "nucleus-worker does not start\n";
    $t->wait_ready;
    ok(fill($t, \%acked, $size, 1)->status == 202, 'taken again as the worker drains, without a reload');

    # round and round
    for my $round (1 .. 2) {
        $r = fill($t, \%acked, $size, 20_000 / ($size > 1000 ? 100 : 1));
        $t->wait_ready;
    }

    stored($t, \%acked, "$size bytes");
    $t->finish;
}

# ---- a queue of one segment: it, too, must be emptied when all was read

for my $workers (1, 2) {
    my $t = Nucleus::Test->new(queue_options => 'max_size=1m min_free=0 segment=1m', workers => $workers);
    my %acked;

    $t->start;

    for my $round (1 .. 2) {
        my $r = fill($t, \%acked, 20_000, 2000);
        is($r->status, 503, "$workers nginx processes, one segment, round $round: full");
        $t->wait_ready(20) or last;

        # each process looks for itself, once a second
        $t->wait_for('taken again', 10, sub { fill($t, \%acked, 20_000, 1)->status == 202 });
    }

    stored($t, \%acked, 'one segment');
    $t->finish;
}

# ---- what is on its way: memory, not disk

{
    my $t = Nucleus::Test->new(http => 'nucleus_max_inflight 256k;');

    $t->start;

    my %acked;
    $t->is_problem(fill($t, \%acked, 200_000, 1), 413, 'body-too-large', {}, 'more than may be in flight at all');
    is(fill($t, \%acked, 100_000, 1)->status, 202, 'less than that');
    stored($t, \%acked, 'in flight');
    $t->finish;
}

done_testing;
