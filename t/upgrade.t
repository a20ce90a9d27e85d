#!/usr/bin/perl

# A binary upgrade (USR2, WINCH, QUIT) and the way back, step by step; and what becomes of a module
# whose file is replaced under a running nginx.  t/torture.t has upgrades under load.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use File::Copy qw(copy);
use Test::More;

use Nucleus::Ledger;
use Nucleus::Test;

my $t = Nucleus::Test->new(
    workers    => 2,
    upgradable => 1,
    main       => 'worker_shutdown_timeout 20s;',
    server     => 'listen 127.0.0.1:%%PORT2%% reuseport;',
);
my $module = $t->dir . '/module.so';

copy(Nucleus::Test::module_file(), $module) or die "copy failed: $!\n";
$t->write_confs(module => $module);
$t->start;

my $number = 0;

sub event { return sprintf '{"id":"up-%d"}', ++$number }

# Inode of the module that a process has mapped.
sub mapped {
    my ($pid) = @_;

    my %inode = map { /\s(\d+)\s+\Q$module\E(?: \(deleted\))?$/ ? ($1 => 1) : () }
        split /\n/, $t->read_file("/proc/$pid/maps");

    return join ' ', keys %inode;
}

sub inode { return (stat $module)[1] }

# As "install" and dpkg do it.
sub replace_module {
    copy($module, "$module.new") or die "copy failed: $!\n";
    rename "$module.new", $module or die "rename failed: $!\n";
}

# ---- a new file of the module: a reload goes on with the old one, an upgrade takes the new one

my $first = inode();
replace_module();
isnt(inode(), $first, 'the module has another file');

$t->reload;
is(mapped($_), $first, 'a reload goes on with the old file') for $t->nginx_workers;
is(mapped($t->pid('nginx')), $first, 'the master too');
$t->is_receipt($t->post('/events', event()), 1, 'and takes events');

$t->upgrade;
is(mapped($_), inode(), 'an upgrade takes the new file') for $t->pid('nginx'), $t->nginx_workers;
$t->is_receipt($t->post('/events', event()), 1, 'and takes events');

# ---- step by step: both generations serve, each finishes what it has begun

{
    my $old = $t->pid('nginx');
    my @straddle = map { $t->client } 1 .. 4;
    my @text = map { Nucleus::Client::text('POST', '/events', [ 'Content-Type' => 'application/json' ], event()) } @straddle;

    $straddle[$_]->send(substr $text[$_], 0, -3) for 0 .. $#straddle;
    $t->is_receipt($t->post('/events', event()), 1, 'what came before has been accepted');

    kill USR2 => $old;
    my $new = $t->wait_for('the new master has processes', 30,
        sub { my $pid = $t->master_pid; $pid && $pid != $old && $t->nginx_workers($pid) == 2 && $pid });
    is($t->read_file('nginx.pid.oldbin'), "$old\n", 'the old master has its file');
    is(scalar($t->nginx_workers($old)), 2, 'both have processes');

    for my $port ($t->port, $t->port2) {
        my @good = grep { $t->post('/events', event(), port => $port)->status == 202 } 1 .. 10;
        is(@good, 10, 'events are taken while both serve');
    }

    kill WINCH => $old;
    $t->wait_for('the old processes shut down', 30, sub { !$t->nginx_workers($old) });

    my @good = grep { $t->post('/events', event(), port => $t->port2)->status == 202 } 1 .. 10;
    is(@good, 10, 'events are taken by the new ones');

    $straddle[$_]->send(substr $text[$_], -3) for 0 .. $#straddle;
    $t->is_receipt($_->response, 1, 'what the old ones had begun they finish') for @straddle;
    $_->close for @straddle;

    kill QUIT => $old;
    $t->wait_for('the old master ends', 30, sub { $t->ended('nginx') });
    is($t->{status}{nginx}, 0, 'with status 0');
    $t->{daemons}{nginx} = $new;
    ok(!-e $t->dir . '/nginx.pid.oldbin', 'its file is gone');
}

# ---- a new binary that does not start changes nothing

{
    my $old = $t->pid('nginx');
    my @workers = $t->nginx_workers;

    $t->expect_log(qr/\[emerg\].*module\.so/);
    rename $module, "$module.away" or die "rename failed: $!\n";
    kill USR2 => $old;
    $t->wait_for('the new binary says why it does not start', 30,
        sub { $t->read_file('error.log') =~ /\[emerg\].*module\.so/ });
    $t->wait_for('the old master has the pid file again', 30, sub { ($t->master_pid // 0) == $old });
    rename "$module.away", $module or die "rename failed: $!\n";

    is(join(' ', $t->nginx_workers), "@workers", 'the old processes go on');
    $t->is_receipt($t->post('/events', event()), 1, 'and take events');
}

# ---- under load, there, back, and there

my $ledger = Nucleus::Ledger->new($t, seed => 11, name => 'load', bad => 0);

$ledger->start;
$ledger->wait_answers(50);

for my $back (0, 1, 0) {
    my $seen = $ledger->answers;

    ok($t->upgrade(back => $back), $back ? 'an upgrade and back' : 'an upgrade');
    $ledger->wait_answers($seen + 50);
}

$ledger->stop;

my $count = $ledger->count;
note('under load: ', Nucleus::Ledger::numbers($count));
is(join(' ', grep { !/^(?:202|none|closed)$/ } keys %$count), '', 'under load: no 4xx, no 5xx, no connection refused');
is(join("\n", $ledger->unanswered), '', 'under load: only ends of idle connections took an answer');
$ledger->check('under load');

# ---- all of it

my @events = $t->wait_events(sub { (grep { $_->{id} =~ /^up-/ } @_) >= $number });
my %times;
$times{ $_->{id} }++ for grep { $_->{id} =~ /^up-/ } @events;
is(join(' ', map { "$_: $times{$_}" } grep { $times{$_} != 1 } sort keys %times), '', 'each event once');

$t->finish;
done_testing;
