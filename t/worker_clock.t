#!/usr/bin/perl

# The clock jumps, an hour ahead, back, an hour behind, and back again, for nginx and for the worker:
# nothing waits for it, nothing is lost or stored twice, no id or file name comes twice.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(time);

use Nucleus::Fault;
use Nucleus::Test;

my $t = Nucleus::Test->new(sink => 'file_size 4k;', queue_options => 'min_free=0 segment=64k');
my $fault = Nucleus::Fault->new($t);
my @ids;

sub send_some {
    for (1 .. $_[0]) {
        my $id = 'c-' . (1 + @ids);

        # without an id of its own the record gets a UUIDv7
        my $r = $t->post('/events', qq({"n":"$id","x":") . 'x' x 1000 . '"}');
        $r->status == 202 or fail("$id is taken");
        push @ids, $id;
    }
}

sub names { return join ' ', sort map { $_->{data} =~ /"n":"([^"]+)"/ } @_ }

$t->start_nginx(env => $fault->env) or die "nginx does not start\n";
$t->spawn('worker', $t->worker_command, env => $fault->env);

my %hours;

for my $jump ([ '', 'now' ], [ 'clock-hour', 'an hour ahead' ], [ '', 'back' ], [ 'clock-back', 'an hour behind' ], [ '', 'and back' ]) {
    my ($word, $name) = @$jump;

    $fault->set($word);
    my $begun = time;
    send_some(20);
    my @events = $t->wait_events(scalar @ids);
    is(names(@events), join(' ', sort @ids), "$name: each is stored, once");

    # a batch is due after one second; half an hour would be the clock's
    cmp_ok(time - $begun, '<', 60, "$name: nothing waits for the clock");

    # started again meanwhile, by what is there
    my ($pid) = $t->children('worker', qr/^nucleus-store$/);
    $t->expect_log(qr/process ended, will be started again/);
    kill KILL => $pid;
    send_some(5);
    @events = $t->wait_events(scalar @ids);
    is(names(@events), join(' ', sort @ids), "$name: also when a process starts anew");
    $hours{ ($_->{received} =~ /^(.*?T\d\d)/)[0] }++ for @events;
}

cmp_ok(scalar keys %hours, '>=', 3, 'three hours were seen');

my @events = $t->events;
my %rid = map { $_->{rid} => 1 } @events;
is(scalar keys %rid, scalar @ids, 'no id came twice');
like($_, qr/^[0-9a-f]{8}-[0-9a-f]{4}-7/, 'which are UUIDv7') for (sort keys %rid)[0];

my %base;
$base{ s{.*/}{}r }++ for Nucleus::Store::files($t->store);
cmp_ok(scalar keys %base, '>', 20, 'many files');
is(scalar(grep { $_ > 1 } values %base), 0, 'of which none has the name of another');
is($t->status->{lag}{records}, 0, 'no lag');
is($t->status->{read}, scalar @ids, 'the books');

$fault->clear;
$t->finish;
done_testing;
