#!/usr/bin/perl

# Refusals that wait: clients that go away meanwhile, over HTTP/2 too, requests behind one, more than
# may wait, a reload and the end of nginx.

use strict;
use warnings;

use FindBin;
use Test::More;
use Time::HiRes qw(time);

use lib "$FindBin::Bin/lib";
use Nucleus::Http2;
use Nucleus::Test;

use constant MAX_SLOWED => 512;

# since 1.25.1 it is a directive
my ($listen, $http2) = Nucleus::Test::nginx_has(qr{version: nginx/1\.2[234]\.}) ? (' http2', '') : ('', 'http2 on;');

my $t = Nucleus::Test->new(keys => 1, locations => <<'END', http => <<"END2");
        location = /slow   { nucleus json; nucleus_auth_delay 3s; }
        location = /slower { nucleus json; nucleus_auth_delay 60s; }
END
    server {
        listen 127.0.0.1:%%PORT2%%$listen;
        $http2
        nucleus_limit off;
        location = /events { nucleus json; }
        location = /slow   { nucleus json; nucleus_auth_delay 3s; }
        location = /slower { nucleus json; nucleus_auth_delay 60s; }
    }
END2

my $key = $t->registry->key;
my $wrong = { bearer => [ Authorization => 'Bearer nuc_000000000000_' . 'x' x 49 ] };
my @type = ('Content-Type' => 'application/json');
my $number = 0;

sub event { return sprintf '{"id":"slow-%d"}', ++$number }
sub text { return Nucleus::Client::text('POST', $_[0], [ @type, @{ $_[1]{bearer} } ], event()) }

sub works {
    my ($name) = @_;

    return $t->is_receipt($t->post('/slower', event(), headers => $key->{bearer}), 1, "a right key, $name");
}

$t->start or BAIL_OUT('does not start');
my ($process) = $t->nginx_workers;

is($t->post('/events', event(), headers => $wrong->{bearer})->status, 401, 'a wrong key') for 1 .. 6;

# until as many have been counted that the time is at its limit
sub waits {
    my ($uri) = @_;

    my $c = $t->client(timeout => 60);
    $c->send(text($uri, $wrong));

    return $c;
}

# ---- requests behind one

{
    my $c = waits('/slow');
    $c->send(text('/slow', $key) . text('/slow', $wrong) . text('/events', $key));
    is_deeply([ map { $c->response->status } 1 .. 4 ], [ 401, 202, 401, 202 ], 'requests behind one are answered in order');
}

{
    my $c = $t->client;
    my $text = text('/slow', $wrong);
    $c->send(substr $text, 0, -5);
    is($c->response->status, 401, 'one whose body does not come is answered');
}

{
    my $c = $t->client;
    my $text = text('/slow', $wrong);
    $c->send(substr $text, 0, -5);
    works('while a body is on its way');
    $c->send(substr $text, -5);
    is($c->response->status, 401, 'one whose body comes meanwhile');
    $c->send(text('/events', $key));
    my $r = $c->response;
    ok(!$r || $r->status == 202, 'and what follows is taken, or the connection is closed');
}

# ---- HTTP/2

{
    my @send = (authorization => $wrong->{bearer}[1]);
    my $h = Nucleus::Http2->new(port => $t->port2);
    my @ids = map { $h->open('/slow', event(), headers => \@send) } 1 .. 10;
    my $right = $h->open('/slow', event(), headers => [ authorization => $key->{bearer}[1] ]);

    is($h->answer($right)->{status}, 202, 'HTTP/2, a right key is not held up by wrong ones of its connection');
    $h->reset($_) for @ids[ 0 .. 4 ];
    is($h->answer($_)->{status}, 401, 'HTTP/2, a wrong key') for @ids[ 5 .. 9 ];

    $h->open('/slower', event(), headers => \@send) for 1 .. 10;
    $h->abort;
    works('after an HTTP/2 connection that went away');
}

# ---- more than may wait

{
    my @waiting = map { waits('/slower') } 1 .. MAX_SLOWED;

    my $r;
    $t->wait_for('no more may wait', 20, sub {
        my $c = waits('/slower');
        $r = $c->response(timeout => 0.2);
        $c->reset;
        return $r && $r->status == 429;
    });
    $t->is_problem($r, 429, 'too-many-failures');
    cmp_ok($r->header('Retry-After') // 0, '>', 0, 'with a time to come back');
    works('while as many wait as may');

    $_->reset for @waiting;
    works('when they are gone');

    # their places are free again
    $t->wait_for('one waits again', 10, sub {
        my $c = waits('/slow');
        my $answer = $c->response(timeout => 5);
        $c->close;
        return $answer && $answer->status == 401;
    });
}

is_deeply([ $t->nginx_workers ], [$process], 'it is the same process');

# ---- a reload, and the end

{
    my @waiting = map { waits('/slow') } 1 .. 5;
    works('before a reload');
    is($t->reload(wait => 0), 1, 'a reload');
    works('after a reload');
    is($_->response->status, 401, 'one that waited is answered') for @waiting;
    $_->close for @waiting;
    $t->wait_old;
}

my @waiting = map { waits('/slow') } 1 .. 5;
works('before the end');
my $begin = time;
is($t->stop('nginx'), 0, 'nginx ends');
cmp_ok(time - $begin, '<', 10, 'not long after');
is($_->response->status, 401, 'one that waited is answered') for @waiting;

$t->finish;
done_testing;
