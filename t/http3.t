#!/usr/bin/perl

# HTTP/3: events over QUIC, whole, in streams that share a connection, with packets lost, and from
# clients that vanish.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Nucleus::Fault;
use Nucleus::Http3;
use Nucleus::Test;

Nucleus::Http3::need;

my $t = Nucleus::Test->new(queue_options => 'min_free=0 segment=4m timeout=20s');
my $dir = $t->dir;
my $port = $t->port2;

$t->write_confs(http => <<"END");
    server {
        listen 127.0.0.1:$port quic;
        ssl_certificate       $dir/cert.pem;
        ssl_certificate_key   $dir/key.pem;
        nucleus_auth          off;
        client_body_timeout   2s;
        keepalive_timeout     2s;
        http3_max_concurrent_streams 100;

        location = /events { nucleus auto; }
        location = /small  { nucleus auto; client_max_body_size 1k; }
    }
END

$t->make_certificate;

my $fault = Nucleus::Fault->new($t);
$t->start_nginx(env => $fault->env) or die "nginx does not start\n";
$t->start_worker or die "nucleus-worker does not start\n";

my $h = Nucleus::Http3->new($t, $port);
my ($nginx) = $t->nginx_workers;
my %want;

# An event of its own, wanted so many times in the store.
sub event {
    my ($id, $size, $count) = @_;

    $want{$id} = $count // 1;

    return sprintf '{"id":"%s","x":"%s"}', $id, 'x' x $size;
}

sub is_taken {
    my ($name, $r) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $got = join ' ', map { $r->{$_} // 'no' } qw(status content-type nucleus-durability);
    is($got, '202 application/json log', $name) or diag(substr $r->{out}, -3000);
}

sub is_refused {
    my ($name, $status, $r) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $got = join ' ', map { $r->{$_} // 'no' } qw(status content-type);
    is($got, "$status application/problem+json", $name) or diag(substr $r->{out}, -3000);
}

# ---- an event, large ones, one of a length that is not said

is_taken('an event', $h->post(['/events'], event('h3-small', 10)));
is_taken('900 KB', $h->post(['/events'], event('h3-large', 900_000)));
is_taken('4 MB', $h->post(['/events'], '[' . join(',', map { event("h3-$_", 800_000) } 1 .. 5) . ']'));
is_taken('no length', $h->post(['/events'], event('h3-open', 300_000), length => 0));

# ---- streams of one connection

my @answers = $h->post([ ('/events') x 60 ], event('h3-many', 20_000, 60));
is(scalar(grep { $_->{status} == 202 } @answers), 60, '60 streams of one connection');

@answers = $h->post([ ('/events', '/small', '/nowhere') x 5 ], event('h3-mixed', 5000, 5));
is(join(' ', map { $_->{status} } @answers), join(' ', ('202 413 404') x 5), 'each stream has its own answer');

# ---- refused

is_refused('no JSON', 400, $h->post(['/events'], '{"id":"never",}'));
is_refused('no body', 400, $h->post(['/events'], " \n"));
is_refused('no type', 415, $h->post(['/events'], '{"id":"never"}', type => undef));
is_refused('over client_max_body_size', 413, $h->post(['/small'], event('never', 2000, 0)));
is_refused('and where no length is said', 413, $h->post(['/small'], event('never', 200_000, 0), length => 0));

# ---- packets that are lost, both ways

@answers = $h->post([ ('/events') x 10 ], event('h3-lossy', 30_000, 10), args => [qw(--tx-loss=0.05 --rx-loss=0.05)]);
is(scalar(grep { $_->{status} == 202 } @answers), 10, 'one packet in twenty lost');

# ---- clients that vanish: before the body is whole, and before the ack

my $files = sub { my @files = Nucleus::Test::open_files($nginx); return scalar @files };
my $before = $files->();

for my $round (1 .. 3) {
    # what it sends is lost soon after the handshake, and it is gone before it is whole
    my ($command, %env) = $h->command(['/events'], event('h3-cut', 3_000_000, 0), args => ['--tx-loss=0.5']);
    my $name = "cut-$round";
    $t->spawn($name, $command, %env);
    $t->wait_for('it has begun', 20, sub { $t->read_file("$name.out") =~ /submit request headers/ || $t->ended($name) });
    $t->kill_all($name) if $t->pid($name);
}

$fault->set('sync-stall');
my $hits = $fault->hits;
my ($command, %env) = $h->command(['/events'], event('h3-gone', 1000));
$t->spawn('gone', $command, %env);
$t->wait_for('the sync has begun', 20, sub { $fault->hits > $hits });
$t->kill_all('gone');
$fault->clear;

is_taken('the next client', $h->post(['/events'], event('h3-next', 10)));

# ---- all that was taken, and nothing else

my @events = $t->wait_events(sub {
    my %seen;
    $seen{ $_->{id} }++ for @_;
    return !grep { ($seen{$_} // 0) < $want{$_} } keys %want;
});
my %count;
$count{ $_->{id} }++ for @events;
is(join(' ', grep { ($want{$_} // 0) != $count{$_} } sort keys %count), '', 'each as often as it was sent');
is(scalar(grep { Nucleus::Store::sha256($_) ne $_->{data_sha256} } @events), 0, 'unchanged');
like($t->read_file('access.log'), qr{"POST /events HTTP/3\.0" 202 }, 'the access log says HTTP/3.0');

$t->wait_for('as many open files as before', 30, sub { $files->() <= $before }) && pass('no descriptor is left');

my @new = $t->nginx_workers;
is("@new", "$nginx", 'it is the same process');

$t->finish;
done_testing;
