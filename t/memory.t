#!/usr/bin/perl

# The memory of an nginx process: what a flood can have of it, what is left for others, and that it
# stays what the documentation says it is.
#
#     NUCLEUS_SIEGE=full    10,000 connections of which 1,000 send 1 MB, with the default budget
#                           (else 600 and 150, with 16 MB)

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(time sleep);

use Nucleus::Process;
use Nucleus::Test;

my $full = ($ENV{NUCLEUS_SIEGE} // '') eq 'full';

my %size = $full
    ? (connections => 10_000, senders => 1000, inflight => 128)
    : (connections => 600, senders => 150, inflight => 16);

my @json = ('Content-Type' => 'application/json');

# who sends is what the header says, so that one machine can be many
my %common = (
    main      => $full ? 'worker_rlimit_nofile 20000;' : '',
    server    => <<'END',
        set_real_ip_from 127.0.0.1;
        real_ip_header   X-Sender;
        client_max_body_size 64m;
        client_header_timeout 300s; client_body_timeout 300s; keepalive_timeout 300s;
END
    locations => <<'END',
        location = /t { nucleus auto; nucleus_tenant $arg_t; nucleus_max_event_size 64m; }
END
);

my $number = 0;

sub event {
    my ($size) = @_;

    my $data = sprintf '{"id":"memory-%d","x":""}', ++$number;
    substr($data, -2, 0, 'x' x ($size - length $data)) if $size > length $data;

    return $data;
}

# All but the last byte of a request of so many bytes: the connection, and that byte.
sub hold {
    my ($t, $tenant, $sender, $size) = @_;

    my $request = Nucleus::Client::text('POST', "/t?t=$tenant", [ @json, 'X-Sender' => $sender ], event($size));
    my $last = chop $request;
    my $c = $t->client;
    $c->send($request);

    return { c => $c, last => $last };
}

# Has it been answered already?
sub early { return $_[0]{response} //= $_[0]{c}->response(timeout => $_[1] // 0.3) }

sub let_go {
    my ($held) = @_;

    return $held->{response} if $held->{response};
    $held->{c}->send($held->{last});

    return $held->{response} = $held->{c}->response;
}

sub post {
    my ($t, $tenant, $sender, $size) = @_;

    return $t->post("/t?t=$tenant", event($size), headers => [ 'X-Sender' => $sender ]);
}

sub is_busy {
    my ($t, $r, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    $t->is_problem($r, 503, 'busy', {}, $name);
    like($r && $r->header('Retry-After') // '', qr/^(?:[1-9]|[1-5]\d|60)$/, "$name: Retry-After");
}

# ---- shares

{
    my $t = Nucleus::Test->new(%common, http => 'nucleus_max_inflight 8m;');
    $t->start;

    # one address: half of it, by the bytes that have come
    my @held = map { hold($t, 'flood', '10.0.0.1', 1_000_000) } 1 .. 8;
    my @refused = grep { early($_) } @held;
    is(scalar @refused, 4, 'one address has half of the budget: 4 bodies of 1 MB');
    is_busy($t, $_->{response}, 'what is over it') for @refused;
    is_busy($t, post($t, 'flood', '10.0.0.1', 900_000), 'one more, refused before it is read');

    # small ones come through as long as there is a byte of the share left: there is none
    $t->is_receipt(post($t, 'other', '10.0.0.1', 1_900_000), 1, 'the same address, another tenant: nearly 2 MB');
    $t->is_receipt(post($t, 'other', '10.0.0.2', $_), 1, "another address and tenant: $_ bytes")
        for 1, 1000, 100_000, 1_000_000;
    $t->is_receipt(post($t, 'flood', '10.0.0.2', 800_000), 1, 'another address of the tenant that floods');

    # a second and a third tenant join
    my @more = map { hold($t, 'flood-2', "10.0.2.$_", 700_000) } 1 .. 8;
    my @more_refused = grep { early($_) } @more;
    cmp_ok(scalar @more_refused, '>=', 2, 'many addresses of a second one: not all get in');
    cmp_ok(scalar @more_refused, '<', 8, 'but some do');
    $t->is_receipt(post($t, 'other', '10.0.0.2', 100_000), 1, 'room for others still');

    # what is whole is taken, and then all is free again
    for my $held (@held, @more) {
        next if $held->{response};
        $t->is_receipt(let_go($held), 1, 'what has its memory is taken');
    }

    $t->is_receipt(post($t, 'flood', '10.0.0.1', 4_190_000), 1, 'then half of it for one body');
    $t->is_problem(post($t, 'flood', '10.0.0.1', 4_300_000), 413, 'body-too-large', {}, 'never more than half');
    $_->{c}->close for @held, @more;

    # IPv6: a /64 is one address
    @held = map { hold($t, 'six', "2001:db8:0:1::$_", 1_000_000) } 1 .. 6;
    is(scalar(grep { early($_) } @held), 2, 'IPv6: the addresses of one /64 share');
    $t->is_receipt(post($t, 'six', '2001:db8:0:2::1', 400_000), 1, 'the next /64 is another');
    $_->{c}->reset for @held;

    $t->wait_for('the memory of who went away is free again', 20,
        sub { post($t, 'flood', '10.0.0.1', 4_000_000)->status == 202 });

    $t->finish;
}

# ---- one tenant floods, with all that it can, and the other's requests are answered 2xx

{
    my $seconds = $full ? 30 : 3;
    my $t = Nucleus::Test->new(%common, http => 'nucleus_max_inflight 8m;');
    $t->start;

    my $parent = $$;
    my @flooders;

    for my $flooder (1 .. 2) {
        my $pid = fork // die "fork failed: $!\n";
        push @flooders, $pid and next if $pid;

        # sends bodies and leaves some of them unfinished, until the test has ended
        my ($taken, $busy) = (0, 0);
        my $end = time + $seconds + 60;

        while (time < $end && !-e $t->dir . '/calm') {
            my @held = map { hold($t, 'flood', "10.0.$flooder.$_", 900_000) } 1 .. 10;

            for (@held) {
                my $r = let_go($_);
                $taken++ if $r && $r->status == 202;
                $busy++ if $r && $r->status == 503;
                $_->{c}->close;
            }
        }

        $t->write_file("flooder-$flooder", "$taken $busy");
        POSIX::_exit(0);
    }

    my (%count, %slow);
    my $end = time + $seconds;
    my $busy = sub { scalar(() = $t->read_file('access.log') =~ m{"POST /t\?t=flood HTTP/1.1" 503}g) };
    $t->wait_for('the flood is over its share', 30, $busy);

    for (my $i = 0; time < $end || $i < 50; $i++) {
        $count{ post($t, 'calm', '10.9.9.9', (200, 20_000, 300_000)[ $i % 3 ])->status }++;
    }

    $t->write_file('calm', '');
    waitpid($_, 0) for @flooders;

    my ($taken, $refused) = (0, 0);

    for my $flooder (1, 2) {
        my ($a, $b) = split ' ', $t->read_file("flooder-$flooder");
        $taken += $a // 0;
        $refused += $b // 0;
    }

    note("the flood: $taken taken, $refused refused; the other: ",
        join ', ', map { "$_: $count{$_}" } sort keys %count);
    cmp_ok($refused, '>', 0, 'a part of the flood is refused');
    cmp_ok($taken, '>', 0, 'and a part is taken');
    is(join(' ', sort keys %count), '202', 'all requests of the other tenant are taken');

    $t->finish;
}

# ---- many connections, some of which send large bodies

{
    my $budget = $size{inflight} << 20;
    my $t = Nucleus::Test->new(%common, http => "nucleus_max_inflight $size{inflight}m;");
    my $conf = $t->read_file('nginx.conf') =~ s/worker_connections \d+/worker_connections 16000/r;
    $t->write_confs(nginx => $conf) if $full;
    $t->start;

    my ($pid) = $t->nginx_workers;
    my $before = Nucleus::Process::rss($pid);
    my @idle = map { $t->client } 1 .. $size{connections} - $size{senders};

    # each has had a request and its answer
    for my $c (@idle) {
        my $r = $c->request('GET', '/live', [], undef);
        next if $r && $r->status == 200;
        fail('an idle connection has its answer');
        last;
    }

    my @senders = map { $t->client } 1 .. $size{senders};
    $_->request('GET', '/live', [], undef) for @senders;

    my $idle = Nucleus::Process::rss($pid);
    Nucleus::Process::reset_peak($pid);

    # of ten tenants, so that they may have nearly all of it
    my @held;

    for my $i (0 .. $#senders) {
        my $request = Nucleus::Client::text('POST', '/t?t=t' . $i % 10,
            [ @json, 'X-Sender' => '10.1.' . int($i / 250) . '.' . $i % 250 ], event(1 << 20));
        my $last = chop $request;
        $senders[$i]->send($request);
        push @held, { c => $senders[$i], last => $last };
    }

    early($_, 0.01) for @held;
    my $loaded = Nucleus::Process::rss($pid);

    my (%count, @without);

    for my $held (@held) {
        my $r = let_go($held);
        my $status = $r ? $r->status : 0;
        $count{$status}++;
        push @without, $r->text if $status == 503 && ($r->header('Retry-After') // '') !~ /^[1-9]\d*$/;
    }

    my $peak = Nucleus::Process::peak_rss($pid);

    # docs/operations.md, "Memory"
    my $constant = $size{senders} * (21 << 10) + (32 << 20);

    note(sprintf '%d connections, %d of which send 1 MB, nucleus_max_inflight %d MB: '
            . 'RSS %.1f MB at start, %.1f idle, %.1f with the bodies, %.1f at most; the constant is %.1f MB',
        @size{qw(connections senders inflight)},
        (map { $_ / (1 << 20) } $before, $idle, $loaded, $peak, $constant));
    note('answers: ', join ', ', map { "$_: $count{$_}" } sort keys %count);

    is(join(' ', sort keys %count), '202 503', 'taken, or refused');
    cmp_ok($count{202} // 0, '>=', int($budget / (1 << 20) * 0.8), 'as many as there is memory for');
    is(scalar @without, 0, 'every 503 has its Retry-After') or diag($without[0]);
    cmp_ok($loaded - $idle, '>', $budget / 2, 'the budget was used');
    cmp_ok($peak - $idle, '<=', $budget + $constant, 'RSS: that of the idle ones, the budget, the constant')
        if !Nucleus::Process::sanitized();

    my $alive = grep { my $r = $_->request('GET', '/live', [], undef); $r && $r->status == 200 } @idle;
    is($alive, scalar @idle, 'the idle connections are still there');
    $_->close for @idle, map { $_->{c} } @held;

    $t->wait_for('all of it is free again', 20,
        sub { post($t, 't0', '10.0.0.1', ($budget >> 1) - 4096)->status == 202 }) if $size{inflight} < 64;
    $t->finish;
}

done_testing;
