#!/usr/bin/perl

# One state to a queue, and the right one: a second worker, and a queue that is another directory than it
# was (its disk is not mounted), are refused; what is meant can be said.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Nucleus::Test;

my $t = Nucleus::Test->new;
my $number = 0;

sub send_some {
    for (1 .. $_[0]) {
        my $id = 'o-' . ++$number;
        my $r = $t->post('/events', qq({"id":"$id"}));
        $r->status == 202 or fail("$id is taken");
    }
}

sub ids { return join ' ', sort map { $_->{id} } @_ }

sub refused {
    my ($name, $message, @args) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    for my $command ([], ['-t']) {
        my ($code, $out) = $t->worker(@args, @$command);
        ok($code == 1 && $out =~ $message && $out =~ /nucleus-worker --accept-queue/, "$name: refused @$command") or diag($out);
    }
}

$t->start;
send_some(10);
$t->wait_events(10);

# ---- another state on the same queue

my $conf = $t->read_file('worker.conf');
my $dir = $t->dir;
$t->write_file('second.conf', $conf =~ s{^state .*}{state $dir/second;}mr =~ s{\Q$dir\E/store}{$dir/second-store}r);
refused('another state', qr{the queue \\?"\Q$dir\E/queue\\?" belongs to the state \\?"\Q$dir\E/state\\?", not to \\?"\Q$dir\E/second}, '-c', "$dir/second.conf");

my ($code, $out) = $t->worker('-c', "$dir/second.conf", '--accept-queue');
ok($code == 1 && $out =~ /another process keeps the queue/, 'nor can it be said while a worker runs') or diag($out);
send_some(10);
is(ids($t->wait_events(20)), ids(map { { id => "o-$_" } } 1 .. 20), 'the one that has it goes on');

# ---- the queue's disk is not mounted

is($t->stop('worker'), 0, 'ends');
is($t->stop('nginx'), 0, 'nginx too');
rename "$dir/queue", "$dir/unmounted" or die "rename failed: $!\n";
refused('no queue', qr/is not the one that the state .* knows: it is not there, is its disk mounted\?/);

# nginx makes the directory that it finds missing, and takes events
$t->start_nginx or die "nginx does not start\n";
send_some(5);
refused('an empty one', qr/knows: it has no owner, is its disk mounted\?/);
is($t->stop('nginx'), 0, 'nginx ends');
rename "$dir/queue", "$dir/found" or die "rename failed: $!\n";
rename "$dir/unmounted", "$dir/queue" or die "rename failed: $!\n";
$t->start;
send_some(5);
is(scalar($t->wait_events(25)), 25, 'it is mounted again: each event once');

# what was taken meanwhile
($code, $out) = $t->worker('--adopt', "$dir/found");
is($code, 0, 'and what nginx took meanwhile is adopted') or diag($out);
is(ids($t->wait_events(30)), ids(map { { id => "o-$_" } } 1 .. 30), 'once');

# ---- on purpose

is($t->stop('worker'), 0, 'ends');
($code, $out) = $t->worker('-c', "$dir/second.conf", '--accept-queue');
ok($code == 0 && $out =~ /belongs to the state "\Q$dir\E\/second" now/, '--accept-queue') or diag($out);
refused('the first', qr/belongs to the state/);
($code, $out) = $t->worker('--accept-queue');
is($code, 0, 'and back') or diag($out);
$t->start_worker or die "nucleus-worker does not start\n";
send_some(5);
is(scalar($t->wait_events(35)), 35, 'it goes on');

$t->finish;
done_testing;
