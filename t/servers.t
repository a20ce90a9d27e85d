#!/usr/bin/perl

# Several servers, locations and processes on one log: many listen sockets, reuseport, PROXY protocol,
# one process without a master.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Nucleus::Test;

use constant SOCKETS => 60;

my @json = ('Content-Type' => 'application/json');
my $t = Nucleus::Test->new(workers => 4);
my @ports = map { $t->free_port } 1 .. SOCKETS;
my ($reuse, $proxied) = splice @ports, 0, 2;
my $unix = $t->dir . '/nginx.sock';
my $listen = join ' ', map { "listen 127.0.0.1:$_;" } @ports;

$t->write_confs(http => <<"END");
    nucleus_auth   off;
    nucleus_stream outer;
    log_format     proxied '\$proxy_protocol_addr \$remote_addr \$status';

    server {
        $listen
        listen    unix:$unix;
        location = /a { nucleus auto; }
        location   /b { nucleus json; nucleus_stream \$server_port; }
        location ~ ^/c/(?<kind>[a-z]+)\$ { nucleus auto; nucleus_stream \$kind; }
    }

    server {
        listen      127.0.0.1:$ports[0];
        server_name other;
        location /  { nucleus json; nucleus_stream by-name; nucleus_tenant \$arg_tenant; }
    }

    server {
        listen         127.0.0.1:$reuse reuseport;
        nucleus_stream reuse;
        location /     { nucleus auto; }
    }

    server {
        listen            127.0.0.1:$proxied proxy_protocol;
        set_real_ip_from  127.0.0.1;
        real_ip_header    proxy_protocol;
        access_log        %%DIR%%/proxied.log proxied;
        location /        { nucleus auto; nucleus_stream proxied; allow 192.0.2.7; deny all; }
    }
END
$t->start;

my $number = 0;
my %want;

# A new event that belongs into that stream, and perhaps tenant.
sub event {
    my ($stream, $tenant) = @_;

    my $id = 's-' . ++$number;
    $want{$id} = ($tenant // 'default') . "/$stream";

    return qq({"id":"$id"});
}

sub taken {
    my ($name, $port, $uri, $event, @headers) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    return $t->is_receipt($t->post($uri, $event, port => $port, headers => \@headers), 1, $name);
}

# ---- all listen sockets, all locations, one log

my @good = grep { $t->post('/a', event('outer'), port => $_)->status == 202 } @ports;
is(@good, @ports, 'each listen socket takes events');
taken("a stream by the server's port", $ports[7], '/b/x/y', event($ports[7]));
taken('a stream by a part of the URI', $ports[0], '/c/clicks', event('clicks'));
is($t->post('/c/', '{"id":"never"}', port => $ports[0])->status, 404, 'no such location');

{
    my $c = Nucleus::Client->new(port => $ports[0]);
    my $text = Nucleus::Client::text('POST', '/?tenant=acme', [@json], event('by-name', 'acme'));
    $text =~ s/Host: localhost/Host: other/;
    $c->send($text);
    $t->is_receipt($c->response, 1, 'another server by its name');
    $c->close;
}

{
    my $socket = IO::Socket::UNIX->new(Peer => $unix) or die "connect to $unix failed: $!\n";
    print {$socket} Nucleus::Client::text('POST', '/a', [ @json, Connection => 'close' ], event('outer'));
    like(join('', <$socket>), qr{^HTTP/1\.1 202 }, 'a socket of the file system');
}

# ---- PROXY protocol

sub proxied {
    my ($line, $event) = @_;

    my $c = Nucleus::Client->new(port => $proxied);
    $c->send($line . Nucleus::Client::text('POST', '/', [ @json, Connection => 'close' ], $event));
    my $r = $c->response(timeout => 10);
    $c->close;

    return $r;
}

$t->is_receipt(proxied("PROXY TCP4 192.0.2.7 192.0.2.1 5555 443\r\n", event('proxied')), 1, 'PROXY protocol');
$t->is_problem(proxied("PROXY TCP4 192.0.2.8 192.0.2.1 5555 443\r\n", '{"id":"never"}'), 403, 'forbidden', {},
    'another address is refused');
is(proxied('', '{"id":"never"}'), undef, 'and who does not speak it');
$t->wait_for('the access log', 10, sub { ($t->read_file('proxied.log') =~ tr/\n//) >= 2 });
is($t->read_file('proxied.log'), "192.0.2.7 192.0.2.7 202\n192.0.2.8 192.0.2.8 403\n", "the client's addresses");

# ---- each process has a log of its own, and reuseport shares the connections out

my %pid = map { $_ => 1 } $t->nginx_workers;
is(scalar keys %pid, 4, 'four processes');

my @clients = map { my $c = Nucleus::Client->new(port => $reuse); $c } 1 .. 100;
$_->send(Nucleus::Client::text('POST', '/', [@json], event('reuse'))) for @clients;
@good = grep { my $r = $_->response; $r && $r->status == 202 } @clients;
is(@good, 100, 'reuseport: all answered');
my @busy = grep { Nucleus::Test::has_connections($_) } keys %pid;
cmp_ok(scalar @busy, '>', 1, 'reuseport: by several processes');
$_->close for @clients;

ok($t->wait_for('two writers for each process', 20, sub {
    my @writers = glob $t->queue . '/*-*-*-*-*';
    return @writers == 8;
}), 'two writers for each process');

# ---- reuseport through a reload, with fewer processes and more again

for my $workers (2, 4) {
    $t->write_confs(workers => $workers);
    $t->reload;
    @good = grep { $t->post('/', event('reuse'), port => $reuse)->status == 202 } 1 .. 20;
    is(@good, 20, "reuseport: $workers processes after a reload");
}

# ---- read back

sub read_back {
    my ($name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my %got;
    $t->wait_events(sub {
        %got = ();
        push @{ $got{ $_->{id} } }, "$_->{tenant}/$_->{stream}" for @_;
        return keys %got >= keys %want;
    });
    is_deeply(\%got, { map { $_ => [ $want{$_} ] } keys %want }, $name);
}

read_back('all are in their streams, once');
is($t->stop('nginx'), 0, 'nginx ends');

# ---- one process, no master

$t->write_confs(main => 'master_process off;', workers => 1);
$t->start_nginx or die "nginx does not start without a master\n";
is(scalar($t->children('nginx')), 0, 'no master: one process');
taken('no master: an event', $ports[0], '/a', event('outer'));
taken('no master: a large one', $ports[0], '/a', event('outer') . ' ' x 400_000);
my $c = $t->client;
@good = grep { my $r = $c->request('POST', '/events', [@json], event('outer')); $r && $r->status == 202 } 1 .. 20;
is(@good, 20, 'no master: on one connection');
$c->close;
is($t->stop('nginx'), 0, 'no master: it ends');
read_back('no master: all are stored');

$t->finish;
done_testing;
