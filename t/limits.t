#!/usr/bin/perl

# Rate limits: who is refused what, with which answer; that they hold across processes, reloads and
# kills; that a zone that is too small refuses nobody.
#
#     NUCLEUS_LIMITS=full    30 seconds with four processes (else 6)

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(time sleep);

use Nucleus::Test;

use constant {
    FULL      => ($ENV{NUCLEUS_LIMITS} // '') eq 'full',
    ADDRESSES => 6000,    # more than the smallest zone has room for
};

my $seconds = FULL ? 30 : 6;

# what four processes are to keep to: kind, unit, rate, burst (units a second, units), units a request
my @rates = (
    [ address => 'r', 100,  200,  1 ],
    [ address => 'e', 1000, 2000, 10 ],
    [ address => 'k', 100,  200,  1 ],
    [ tenant  => 'r', 120,  240,  1 ],
    [ tenant  => 'e', 1200, 2400, 10 ],
    [ tenant  => 'k', 120,  240,  1 ],
);

# and through kills
my @more_rates = ([ address => 'r', 90, 180, 1 ], [ tenant => 'e', 900, 1800, 10 ]);

my $rate_locations = join "\n", map {
    my ($kind, $unit, $rate, $burst) = @$_;
    "location = /rate/$kind/$unit/$rate { nucleus auto; nucleus_tenant $kind-$unit;
                                    nucleus_limit $kind rate=$rate$unit/s burst=$burst;
                                    add_header X-Process \$pid always; }"
} @rates, @more_rates;

my $t = Nucleus::Test->new(
    workers => 4,
    http    => <<'END',
        nucleus_zone     1m;
        set_real_ip_from 127.0.0.1;
        real_ip_header   X-Forwarded-For;
END
    locations => <<"END",
        location = /requests { nucleus auto; nucleus_limit address rate=1r/s burst=5; }
        location = /events10 { nucleus auto; nucleus_tenant \$arg_t; nucleus_limit tenant rate=1e/s burst=10; }
        location = /bytes    { nucleus auto; nucleus_limit address rate=1k/s burst=2; }
        location = /several  { nucleus auto; nucleus_tenant several; nucleus_limit tenant rate=1e/s burst=5;
                               nucleus_limit address rate=1r/s burst=3; nucleus_limit address rate=1k/s; }
        location = /longest  { nucleus auto; nucleus_limit address rate=1r/s; nucleus_limit tenant rate=1k/s burst=4; }
        location = /keys     { nucleus auto; nucleus_limit key rate=1r/s; }
        location = /page     { nucleus auto; nucleus_limit address rate=1r/s; error_page 429 = \@page; }
        location \@page       { return 503 "slow down\\n"; }
        location = /flood    { nucleus auto; nucleus_limit address rate=1r/s; }

        location /outer {
            nucleus auto;
            nucleus_limit address rate=1r/s burst=2;
            location /outer/same   { nucleus auto; }
            location /outer/events { nucleus auto; nucleus_limit address rate=1e/s burst=50; }
            location /outer/off    { nucleus auto; nucleus_limit off; }
        }

        $rate_locations
END
);

$t->start;

my $number = 0;
my $stored = 0;

sub events {
    my ($count, $size) = @_;

    return '[' . join(',', map { sprintf '{"id":"l-%d","x":"%s"}', ++$number, 'x' x ($size // 0) } 1 .. $count) . ']';
}

# From an address, which may be left out.
sub post {
    my ($uri, $body, $address, %opt) = @_;

    my @from = defined $address ? ('X-Forwarded-For' => $address) : ();
    my $r = $t->post($uri, $body, headers => [@from], %opt);
    $stored += $r->json->{accepted} if $r->status == 202;

    return $r;
}

# Until one is refused: how many were not, and the refusal.  What the rate gives meanwhile counts.
sub exhaust {
    my ($uri, $count, $burst, $address) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $start = time;
    my $accepted = 0;
    my $r;

    while (1) {
        $r = post($uri, events($count), $address);
        last if $r->status != 202 || time > $start + 60;
        $accepted += $count;
    }

    my $most = $burst + int(time - $start) + 1;
    ok($accepted >= $burst - $count + 1 && $accepted <= $most, "$uri: $accepted of $burst to $most accepted");

    return $r;
}

sub headers_are {
    my ($r, $policy, $state, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is($r->header('RateLimit-Policy'), $policy, "$name: RateLimit-Policy");
    like($r->header('RateLimit') // 'none', $state, "$name: RateLimit");
}

# ---- requests

my $r = post('/requests', events(1), '192.0.2.1');
$t->is_receipt($r, 1, 'within the limit');
headers_are($r, '"address-requests";q=5;w=5;nucleus-rate=1', qr/^"address-requests";r=4;t=4$/, 'receipt');

$r = exhaust('/requests', 1, 4, '192.0.2.1');
$t->is_problem($r, 429, 'rate-limited',
    { detail => qr{^over the limit of requests of this address, 1/s with a burst of 5: 0 would fit now$} });
is_deeply($r->json->{'violated-policies'}, ['address-requests'], 'the policy is named');
is($r->header('Retry-After'), 1, 'Retry-After');
headers_are($r, '"address-requests";q=5;w=5;nucleus-rate=1', qr/^"address-requests";r=0;t=1$/, '429');

is(post('/requests', events(1), '192.0.2.2')->status, 202, 'another address is not limited by it');
is(post('/requests', events(1), '2001:db8:0:1::1')->header('RateLimit'), '"address-requests";r=4;t=4', 'IPv6');
like(post('/requests', events(1), '2001:db8:0:1:ffff::2')->header('RateLimit'), qr/r=[34];/, 'another of the same /64');
is(post('/requests', events(1), '2001:db8:0:2::1')->header('RateLimit'), '"address-requests";r=4;t=4', 'another /64');
is(post('/keys', events(1))->header('RateLimit'), undef, 'without keys no limit of keys applies');
is(post('/events', events(1))->header('RateLimit-Policy'), undef, 'where there is no limit nothing is said of one');

my $c = $t->client;
$c->send("POST /requests HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\nContent-Type: application/json\r\n"
        . "Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n");
$r = $c->response(interim => 1);
$r = post('/requests', events(1), '192.0.2.1') if $r && $r->status == 100;    # a second has passed
ok($r && $r->status == 429, 'refused before the body is read');
$c->close;

# ---- events: a batch that exceeds what is left is refused whole

is(post('/events10?t=a', events(6))->status, 202, '6 events of 10');
$r = post('/events10?t=a', events(9));
$t->is_problem($r, 429, 'rate-limited',
    { detail => qr{^over the limit of events of this tenant, 1/s with a burst of 10: of 9, [4-8] would fit now$} });
headers_are($r, '"tenant-events";q=10;qu="events";w=10;nucleus-rate=1', qr/^"tenant-events";r=[4-8];t=[1-5]$/,
    '429 of a batch');
cmp_ok($r->header('Retry-After'), '<=', 5, 'Retry-After: until the batch fits');
cmp_ok($r->header('Retry-After'), '>=', 1, 'and not less');
my ($window) = $r->header('RateLimit') =~ /t=(\d+)/;
cmp_ok($r->header('Retry-After'), '>=', $window, 'nor before the window ends');

is(post('/events10?t=a', events(4))->status, 202, 'a smaller batch fits');
is(post('/events10?t=b', events(10))->status, 202, 'another tenant has his own');

$r = post('/events10?t=c', events(11));
$t->is_problem($r, 413, 'batch-too-large',
    { detail => qr{^over the limit of events of this tenant, 1/s with a burst of 10: 11 never fit, 10 would fit now$} });
is($r->header('Retry-After'), undef, 'no Retry-After for what can never pass');
like($r->header('RateLimit'), qr/r=10;/, 'what would fit is said');

# ---- bytes

is(post('/bytes', '{"x":"' . 'x' x 1990 . '"}', '192.0.2.3')->status, 202, '1998 bytes of 2048');
$r = post('/bytes', '{"x":"' . 'x' x 1990 . '"}', '192.0.2.3');
$t->is_problem($r, 429, 'rate-limited', { detail => qr{bytes of this address, 1024/s with a burst of 2048: of 1998, \d+ would} });
headers_are($r, '"address-bytes";q=2048;qu="content-bytes";w=2;nucleus-rate=1024', qr/^"address-bytes";r=\d+;t=[12]$/, 'bytes');

$c = $t->client;
$c->send("POST /bytes HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.4\r\nContent-Type: application/json\r\n"
        . "Content-Length: 3000\r\n\r\n");
$t->is_problem($c->response, 413, 'batch-too-large', { detail => qr/3000 never fit/ }, 'too many, before they are read');
$c->close;

my @chunked = ('Transfer-Encoding' => 'chunked', 'X-Forwarded-For' => '192.0.2.4');
my $body = '{"x":"' . 'x' x 2992 . '"}';
$r = $t->post('/bytes', Nucleus::Client::chunked($body, 1000), headers => \@chunked);
$t->is_problem($r, 413, 'batch-too-large', { detail => qr/3000 never fit/ }, 'too many in chunks');
$body = '{"x":"' . 'x' x 1992 . '"}';
$r = $t->post('/bytes', Nucleus::Client::chunked($body, 1000), headers => \@chunked);
ok($r->status == 202 && ++$stored, 'chunks that fit');
$r = $t->post('/bytes', Nucleus::Client::chunked($body, 1000), headers => \@chunked);
$t->is_problem($r, 429, 'rate-limited', { detail => qr/of 2000, \d+ would fit now/ }, 'chunks over what is left');

# ---- several limits: what one refuses the others give back

is(post('/several', events(6), '192.0.2.5')->status, 413, 'more events than fit') for 1 .. 10;
$r = post('/several', '{"x":"' . 'x' x 2000 . '"}', '192.0.2.5');
is($r->status, 413, 'more bytes than fit');
$r = post('/several', events(5), '192.0.2.5');
is($r->status, 202, 'neither took requests or events');
is($r->header('RateLimit-Policy'), '"tenant-events";q=5;qu="events";w=5;nucleus-rate=1, '
        . '"address-requests";q=3;w=3;nucleus-rate=1, "address-bytes";q=1024;qu="content-bytes";w=1;nucleus-rate=1024',
    'all are listed');
like($r->header('RateLimit'), qr/^"tenant-events";r=[01];t=1, "address-requests";r=[23];t=[23], "address-bytes";r=\d+;t=1$/,
    'with what is left of each');

$body = '{"x":"' . 'x' x 3992 . '"}';
post('/longest', $body, '192.0.2.5');
$r = post('/longest', $body, '192.0.2.5');
$t->is_problem($r, 429, 'rate-limited', { detail => qr{bytes of this tenant, 1024/s with a burst of 4096: of 4000, } },
    'refused by more than one: the one that refuses longest is told');
cmp_ok($r->header('Retry-After'), '>', 1, 'with its time');

# ---- which limits hold where

exhaust('/outer', 1, 2, '192.0.2.6');
ok(scalar(grep { post('/outer/same', events(1), '192.0.2.6')->status == 429 } 1 .. 3),
    'a location within has the limits of the outer one');
is(post('/outer/events', events(40), '192.0.2.6')->status, 202, 'a list of its own takes their place');
is(post('/outer/off', events(1), '192.0.2.6')->status, 202, 'as does "off"') for 1 .. 5;

my @pages = map { post('/page', events(1), '192.0.2.7') } 1 .. 4;
ok(scalar(grep { $_->status == 503 && $_->body eq "slow down\n" } @pages), 'error_page takes the place of the answer');

my @events = $t->wait_events($stored);
is(scalar @events, $stored, 'all that was accepted is stored, and nothing else');

# ---- a reload

exhaust('/events10?t=r', 10, 10);
$t->reload;
like(post('/events10?t=r', events(10))->header('RateLimit'), qr/r=[0-8];/, 'a reload forgets no bucket');
$t->write_confs(http => $t->{opt}{http} =~ s/1m/2m/r);
$t->reload;
like(post('/events10?t=r', events(1))->header('RateLimit'), qr/r=9;/, 'one that changes the size does');

# ---- many addresses in a small zone

$t->write_confs(http => $t->{opt}{http} =~ s/2m/64k/r);
$t->reload;

sub flood {
    my ($first, $last) = @_;

    my $client = $t->client;
    my %status;

    for my $i ($first .. $last) {
        my $address = sprintf '2001:db8:%x:%x::1', $i >> 8, $i & 255;
        my $answer = $client->request('POST', '/flood',
            [ 'Content-Type' => 'application/json', 'X-Forwarded-For' => $address ], '[]');

        # nginx closes a connection after 1000 requests
        $client = $t->client if !$answer || ($answer->header('Connection') // '') eq 'close';
        $status{ $answer ? $answer->status : 0 }++;
    }

    return %status;
}

my %status = flood(1, ADDRESSES);
is_deeply(\%status, { 400 => ADDRESSES }, ADDRESSES . ' addresses in a zone of 64k: none is refused for it');
%status = (flood(ADDRESSES - 3, ADDRESSES), flood(ADDRESSES - 3, ADDRESSES));
ok($status{429}, 'while the latest of them are limited');

# ---- four processes keep to rate and burst together, through a reload and kills

$t->write_confs(http => $t->{opt}{http} =~ s/64k/1m/r);
$t->reload;

# A client of its own process: what was accepted, what was neither accepted nor limited, how long it
# took; what was accepted when one was refused for the last time, and when that was; by whom.
sub client {
    my ($kind, $unit, $rate, $burst, $each, $until) = @_;

    my $uri = "/rate/$kind/$unit/$rate";
    my @events = map { '{"x":"' . 'x' x ($unit eq 'k' ? 1000 : 3) . '"}' } 1 .. $each;
    my $text = '[' . join(',', @events) . ']';
    $text .= ' ' x (1024 - length $text) if $unit eq 'k';

    my (@clients, %process);
    my $accepted = 0;
    my $wrong = 0;
    my $sent = 0;
    my $start = time;
    my ($so_far, $refused) = (0, 0);

    while (time < $until) {
        # twice the rate, and all of the burst at once
        my $due = 2 * ($rate * (time - $start) + $burst) / $each;

        if ($sent >= $due) {
            sleep 0.002;
            next;
        }

        my $slot = $sent++ % 8;
        $clients[$slot] //= Nucleus::Client->new(port => $t->port, may_fail => 1) // next;
        my $when = time - $start;
        my $answer = $clients[$slot]->request('POST', $uri, [ 'Content-Type' => 'application/json' ], $text, timeout => 10);

        if (!$answer) {
            $clients[$slot]->close;
            $clients[$slot] = undef;
            next;
        }

        $process{ $answer->header('X-Process') // 0 } = 1;
        $accepted += $each if $answer->status == 202;
        ($so_far, $refused) = ($accepted, $when) if $answer->status == 429;
        $wrong++ if $answer->status != 202 && $answer->status != 429;
        $clients[$slot] = undef if ($answer->header('Connection') // '') eq 'close';
    }

    return join ' ', $accepted, $wrong, time - $start, $so_far, $refused, keys %process;
}

sub crowd {
    my ($name, $length, $meanwhile, $tolerance, @who) = @_;

    my $until = time + $length;
    my (@pipes, %process);

    for my $who (@who) {
        my $pid = open(my $pipe, '-|') // die "fork failed: $!\n";

        if ($pid == 0) {
            print client(@$who, $until);
            STDOUT->flush;
            POSIX::_exit(0);
        }

        push @pipes, $pipe;
    }

    $meanwhile->($until);

    for my $who (@who) {
        my ($kind, $unit, $rate, $burst) = @$who;
        my ($accepted, $wrong, $took, $so_far, $refused, @seen) = split ' ', readline shift @pipes;
        @process{@seen} = ();
        my ($most, $least) = map { $rate * $_ + $burst } $took, $refused;
        cmp_ok($accepted, '<=', $most, sprintf "$name, $kind $unit: %d of rate and burst, %d", $accepted, $most);
        cmp_ok($so_far, '>=', $least * (1 - $tolerance), sprintf "$name, $kind $unit: %d when %d were due", $so_far, $least);
        cmp_ok($refused, '>', $took / 2, "$name, $kind $unit: and more was asked for");
        is($wrong, 0, "$name, $kind $unit: nothing but 202 and 429");
    }

    cmp_ok(scalar keys %process, '>', 2, scalar(keys %process) . ' processes took part');
}

crowd("$seconds s with a reload", $seconds, sub { sleep $seconds / 2; $t->reload }, 0.02, @rates);

$t->expect_log(qr/exited on signal 9/);

my $kills = 0;

crowd('kills', 4, sub {
        my ($until) = @_;

        while (time < $until - 1) {
            my @workers = $t->nginx_workers;
            kill KILL => $workers[ rand @workers ];
            $kills++;
            $t->wait_for('another process in its place', 20, sub {
                my @now = $t->nginx_workers;
                return @now == 4 && join(' ', @now) ne join(' ', @workers);
            });
            sleep 0.1;    # or hardly any answer gets through
        }
    }, 0.1, @more_rates);

cmp_ok($kills, '>', 3, "$kills processes were killed");
is(post('/requests', events(1), '192.0.2.99')->status, 202, 'and all goes on');

$t->finish;
done_testing;
