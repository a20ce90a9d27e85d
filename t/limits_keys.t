#!/usr/bin/perl

# Limits of keys and tenants: the default, those of nginx.conf, and those of the registry, which win.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Nucleus::Test;

my $t = Nucleus::Test->new(
    keys      => 1,
    limits    => '',
    locations => <<'END',
        location = /conf { nucleus auto; nucleus_limit key rate=1r/s burst=9; nucleus_limit key rate=1e/s burst=90;
                           nucleus_limit tenant rate=1e/s burst=900; }
        location = /off  { nucleus auto; nucleus_limit off; }
END
);

$t->start;

my $registry = $t->registry;

sub send_events {
    my ($uri, $key, $count) = @_;

    return $t->post($uri, '[' . join(',', ('{}') x ($count // 1)) . ']', headers => $key->{bearer});
}

# The policies of a location for a key: { name => [ burst, rate ] }
sub policies {
    my ($uri, $key) = @_;

    my $text = send_events($uri, $key)->header('RateLimit-Policy') // '';

    return { map { /^"([a-z-]+)";q=(\d+).*;nucleus-rate=(\d+)$/ ? ($1 => [ $2, $3 ]) : () } split /, /, $text };
}

sub is_taken_up {
    my ($key, $policy) = @_;

    return $t->wait_for("nginx knows of $policy", 10,
        sub { index(send_events('/off', $key)->header('RateLimit-Policy') // '', $policy) >= 0 });
}

my $plain = $registry->key(tenant => 'north');
my $own = $registry->key(tenant => 'south');
my $other = $registry->key(tenant => 'south');

$t->wait_for('nginx knows the keys', 10, sub { send_events('/events', $other)->status == 202 });

is_deeply(policies('/events', $plain), { 'key-requests' => [ 50, 100 ] }, 'a key has a limit where nothing is said');
is_deeply(policies('/off', $plain), {}, 'and none where it is off');
is_deeply(policies('/conf', $plain),
    { 'key-requests' => [ 9, 1 ], 'key-events' => [ 90, 1 ], 'tenant-events' => [ 900, 1 ] }, 'those of nginx.conf');

# ---- of the registry

$registry->must(qw(key limits), $own->{id}, qw(--requests 1/s:7 --bytes 1m/s:2m));
is_taken_up($own, '"key-requests";q=7;');

is_deeply(policies('/off', $own), { 'key-requests' => [ 7, 1 ], 'key-bytes' => [ 2 << 20, 1 << 20 ] },
    'its own limits count where there are none');
is_deeply(policies('/conf', $own), {
    'key-requests' => [ 7, 1 ], 'key-bytes' => [ 2 << 20, 1 << 20 ],
    'key-events' => [ 90, 1 ], 'tenant-events' => [ 900, 1 ] }, 'and instead of those of their unit');
is_deeply(policies('/off', $other), {}, 'another key of the tenant has none of them');

my $r;
$t->wait_for('it is used up', 30, sub { $r = send_events('/events', $own); return $r->status == 429 });
$t->is_problem($r, 429, 'rate-limited',
    { detail => 'over the limit of requests of this key, 1/s with a burst of 7: 0 would fit now' });
is_deeply($r->json->{'violated-policies'}, ['key-requests'], 'the policy is named');

my $next = $registry->json(qw(key rotate), $own->{id});
$next->{bearer} = [ Authorization => "Bearer $next->{key}" ];
$t->wait_for('nginx knows the successor', 10, sub { ($r = send_events('/events', $next))->status != 401 });
like($r->header('RateLimit'), qr/"key-requests";r=[0-5];/, 'a successor counts with it');

# ---- of a tenant

$registry->must(qw(tenant limits south --events 1/s:30));
is_taken_up($other, '"tenant-events";q=30;');

is_deeply(policies('/conf', $other),
    { 'key-requests' => [ 9, 1 ], 'key-events' => [ 90, 1 ], 'tenant-events' => [ 30, 1 ] }, 'instead of that of nginx.conf');

my $third = $registry->key(tenant => 'south');
$t->wait_for('nginx knows the third key', 10, sub { ($r = send_events('/off', $third))->status != 401 });
is(send_events('/off', $other, 31)->status, 413, 'a batch that can never pass');
$t->wait_for('one key uses it up', 30, sub { send_events('/off', $other, 5)->status == 429 });
$r = send_events('/off', $third, 10);
$t->is_problem($r, 429, 'rate-limited', { detail => qr/^over the limit of events of this tenant, 1\/s with a burst of 30: of 10, / });
is(send_events('/off', $plain, 31)->status, 202, 'another tenant has nothing to do with it');

$registry->must(qw(tenant limits south --events none));
$t->wait_for('the limit is gone', 10, sub { send_events('/off', $third, 31)->status == 202 });

$t->finish;
done_testing;
