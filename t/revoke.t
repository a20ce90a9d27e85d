#!/usr/bin/perl

# A key that is revoked is refused by every process within a second, under load; what came with it
# after "nucleusctl key revoke" had returned is not stored, a body that was on its way neither.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP ();
use POSIX ();
use Test::More;
use Time::HiRes qw(time);

use Nucleus::Test;

use constant {
    PROCESSES => 4,
    SENDERS   => 8,
};

my $t = Nucleus::Test->new(keys => 1, workers => PROCESSES, events => 'multi_accept off;');
my $registry = $t->registry;
my $key = $registry->key(tenant => 'north', name => 'revoked');
my $other = $registry->key(tenant => 'north', name => 'stays');
$t->start or BAIL_OUT('does not start');

# Sends one event after the other over connections that stay, until it is told to stop; writes a line
# for each: when it was sent, the status, the id.
sub sender {
    my ($number, $with) = @_;

    my $pid = fork // die "fork failed: $!\n";
    return $pid if $pid;

    my $stop = 0;
    local $SIG{TERM} = sub { $stop = 1 };
    open my $log, '>', $t->dir . "/sender.$number" or POSIX::_exit(1);
    my ($c, $event) = (undef, 0);

    while (!$stop) {
        $c //= $t->client;
        my $id = "s$number-" . $event++;
        my $sent = time;
        my $r = $c->request('POST', '/events',
            [ 'Content-Type' => 'application/json', @{ $with->{bearer} } ], qq({"id":"$id"}));
        printf {$log} "%.6f %d %s\n", $sent, $r ? $r->status : 0, $id;
        $c = undef if !$r || ($r->header('Connection') // '') eq 'close';
    }

    close $log;
    POSIX::_exit(0);
}

my @pids = map { sender($_, $_ % 4 ? $key : $other) } 1 .. SENDERS;

sub lines {
    my @lines;

    for my $number (1 .. SENDERS) {
        push @lines, map { [ $number, split ] } split /\n/, $t->read_file("sender.$number");
    }

    return @lines;
}

# a body that has begun when its key is revoked
my $slow = $t->client;
$slow->send(Nucleus::Client::text('POST', '/events',
        [ 'Content-Type' => 'application/json', @{ $key->{bearer} }, 'Content-Length' => 20 ], undef) . '{"id":"slow"');

# each sender's file is flushed when it ends: the store tells that all are at work
$t->wait_for('events of every sender', 30, sub {
    my %seen = map { $_->{id} =~ /^s(\d+)-/ ? ($1 => 1) : () } $t->events;
    return keys %seen == SENDERS;
});

my $begin = time;
my ($status, $out) = $registry->ctl('key', 'revoke', $key->{id});
my $end = time;

is($status, 0, 'revoke returns 0') or diag($out);
cmp_ok($end - $begin, '<', 1, 'in less than a second');
note(sprintf 'revoke took %.0f ms', ($end - $begin) * 1e3);

$slow->send('       }');
my $r = $slow->response;
is($r ? $r->status : 0, 403, 'a body on its way is refused');
is($r->json->{type}, 'urn:nucleus:problem:key-revoked', 'as revoked');

for (1 .. PROCESSES * 4) {
    is($t->post('/events', '{"id":"after"}', headers => $key->{bearer})->status, 403, 'refused afterwards');
}

$t->is_receipt($t->post('/events', '{"id":"other"}', headers => $other->{bearer}), 1, 'another key is not');

kill TERM => @pids;
waitpid $_, 0 for @pids;

my @lines = lines();
my @of_key = grep { $_->[0] % 4 } @lines;
cmp_ok(scalar(grep { $_->[2] == 202 } @of_key), '>', 0, 'the key was accepted before');
cmp_ok(scalar(grep { $_->[2] == 403 } @of_key), '>', 0, 'and refused after');
is(scalar(grep { $_->[1] > $end && $_->[2] != 403 } @of_key), 0, 'what was sent after revoke had returned is refused');
is(scalar(grep { $_->[2] != 202 && $_->[2] != 403 } @of_key), 0, 'nothing else was answered');
is(scalar(grep { $_->[2] != 202 } grep { $_->[0] % 4 == 0 } @lines), 0, 'the other key was always accepted');

my %acknowledged = map { $_->[3] => 1 } grep { $_->[2] == 202 } @lines;
my @events = $t->wait_events(keys(%acknowledged) + 1);
my %stored = map { $_->{id} => $_ } @events;
is(scalar(grep { !$stored{$_} } keys %acknowledged), 0, 'what was acknowledged is stored');

# records are stamped when they are made, before the key is asked for once more
my @late = grep { $_->{key_id} eq $key->{id} && seconds($_->{received}) > $end } @events;
is(scalar(@late), 0, 'nothing of the key was taken after revoke had returned');

sub seconds {
    my ($text) = @_;

    my ($y, $m, $d, $h, $min, $s) = $text =~ /^(\d+)-(\d+)-(\d+)T(\d+):(\d+):([\d.]+)Z$/;
    local $ENV{TZ} = 'UTC';
    POSIX::tzset();
    return POSIX::mktime(0, $min, $h, $d, $m - 1, $y - 1900) + $s;
}

# ---- a process that does not take it up

my $third = $registry->key(tenant => 'north', name => 'third');
$t->wait_for('the third key is known', 5,
    sub { $t->post('/events', '{"id":"third"}', headers => $third->{bearer})->status == 202 });

my ($stopped) = $t->nginx_workers;
kill STOP => $stopped;
($status, $out) = $registry->ctl('key', 'revoke', $third->{id}, '--timeout', '1s');
is($status, 4, 'revoke says that a process has not taken it up');
like($out, qr/\b$stopped\b/, 'and which');
kill CONT => $stopped;

($status, $out) = $registry->ctl('key', 'revoke', $third->{id});
is($status, 0, 'once more, when it goes on') or diag($out);
is($t->post('/events', '{"id":"x"}', headers => $third->{bearer})->status, 403, 'refused');

# ---- a reload and new processes use the newest

ok($t->reload, 'a reload');
is($t->post('/events', '{"id":"y"}', headers => $third->{bearer})->status, 403, 'refused after it');
$t->is_receipt($t->post('/events', '{"id":"z"}', headers => $other->{bearer}), 1, 'the other key is not');

$t->finish;
done_testing;
