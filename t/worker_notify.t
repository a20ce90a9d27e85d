#!/usr/bin/perl

# What a service manager is told, as sd_notify(3) has it: ready, reloading, stopping, signs of life.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Select ();
use IO::Socket::UNIX ();
use Socket qw(SOCK_DGRAM);
use Test::More;

use Nucleus::Test;

my $t = Nucleus::Test->new;
my $socket;

# All lines of the next datagram.
sub told {
    IO::Select->new($socket)->can_read(20) or return 'nothing';
    recv $socket, my $text, 4096, 0;

    return $text;
}

sub start_told {
    my ($name, %env) = @_;

    $t->spawn('worker', $t->worker_command, env => { NOTIFY_SOCKET => $name, %env });
    is(told(), 'READY=1', 'it is ready');
}

$t->start_nginx;

# ---- a socket in the file system

my $path = $t->dir . '/notify';
$socket = IO::Socket::UNIX->new(Local => $path, Type => SOCK_DGRAM) or die "socket: $!\n";
start_told($path);
$t->post('/events', '{"id":"n-1"}')->status == 202 or fail('an event is taken');
$t->wait_events(1);

# the lock's holder is the process that the manager started
my ($pid) = $t->read_file($t->state . '/lock') =~ /(\d+)/;
is($pid, $t->pid('worker'), 'it is the main process that tells');

my $child = $t->status('store')->{process}{pid};
is(scalar(grep { (readlink $_ // '') =~ /^socket:/ } glob "/proc/$child/fd/*"), 0, 'no other process could');

$t->signal('HUP', 'worker');
like(told(), qr/\ARELOADING=1\nMONOTONIC_USEC=\d+\z/, 'SIGHUP: it reloads');
is(told(), 'READY=1', 'and is ready again');

my $conf = $t->read_file('worker.conf');
$t->expect_log(qr/configuration is not taken/);
$t->write_file('worker.conf', 'nonsense;');
$t->signal('HUP', 'worker');
like(told(), qr/\ARELOADING=1\n/, 'a configuration that is wrong: it reloads');
is(told(), 'READY=1', 'and is ready with the old one');
$t->write_file('worker.conf', $conf);

$t->signal('TERM', 'worker');
is(told(), 'STOPPING=1', 'it stops');
is($t->stop('worker'), 0, 'and has ended');

# ---- one without a name in the file system, and a watchdog

my $abstract = 'nucleus-notify-' . $$;
$socket = IO::Socket::UNIX->new(Local => "\0$abstract", Type => SOCK_DGRAM) or die "socket: $!\n";
start_told("\@$abstract", WATCHDOG_USEC => 200_000);
is(told(), 'WATCHDOG=1', 'it lives') for 1 .. 3;
$t->signal('TERM', 'worker');
my $last = '';
$last = told() until $last eq 'STOPPING=1' || $last eq 'nothing';
is($last, 'STOPPING=1', 'it stops');
is($t->stop('worker'), 0, 'and has ended');

# a watchdog that is another process's
start_told("\@$abstract", WATCHDOG_USEC => 200_000, WATCHDOG_PID => $$);
$t->signal('TERM', 'worker');
is(told(), 'STOPPING=1', 'no sign of life is sent for another process');
is($t->stop('worker'), 0, 'it has ended');

# ---- nobody listens, or there is no such place

$socket->close;
$t->expect_log(qr/the service manager is not told/);
$t->spawn('worker', $t->worker_command, env => { NOTIFY_SOCKET => "\@$abstract" });
$t->wait_for('it says that nobody listens', 20, sub { $t->read_file('worker.out') =~ /the service manager is not told.*Connection refused/ });
is($t->stop('worker'), 0, 'and works all the same');

$t->expect_log(qr/is no socket/);
my ($code, $out) = $t->run($t->worker_command, env => { NOTIFY_SOCKET => 'nowhere' });
ok($code == 1 && $out =~ /worker cannot start.*\\"nowhere\\" in NOTIFY_SOCKET is no socket/, 'what is no socket is an error') or diag($out);

$t->finish;
done_testing;
