#!/usr/bin/perl

# A process of the worker that dies again and again, by a signal of its own doing: it is started again
# with growing pauses, the log and --status say so, the others go on.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP ();
use Test::More;

use Nucleus::Fault;
use Nucleus::Test;

use constant SIGXFSZ => 25;

my $t = Nucleus::Test->new(
    locations => 'location ~ ^/to/(?<stream>[^/]+)$ { nucleus auto; nucleus_stream $stream; }',
    pipeline  => 'streams small;',
    more      => 'pipeline big { streams big; sink file { path %%DIR%%/big; } }',
);
my $fault = Nucleus::Fault->new($t);

sub send_one {
    my ($stream, $id, $size) = @_;

    my $r = $t->post("/to/$stream", qq({"id":"$id","x":") . 'x' x $size . '"}');
    is($r->status, 202, "$id is taken");
}

sub ids { return join ' ', sort map { $_->{id} } @_ }

sub pid_of { return ($t->children('worker', qr/^nucleus-$_[0]$/))[0] }

$t->start_nginx or die "nginx does not start\n";

# no file may grow over this; who tries is killed
$t->spawn('worker', [ qw(prlimit --core=0 --fsize=200000:unlimited), @{ $t->worker_command } ], env => $fault->env);
$t->wait_for('nucleus-worker starts', 30, sub { $t->read_file('worker.out') =~ /"msg":"worker started"/ });
$t->expect_log(qr/process ended, will be started again/);

send_one(small => 's-1', 10);
$t->wait_events(1);
my $small = pid_of('store');
my $keeper = pid_of('keeper');

send_one(big => "b-$_", 150_000) for 1 .. 2;

my $status;
$t->wait_for('--status shows that it crashes', 60, sub { $status = $t->status('big'); ($status->{process}{restarts} // 0) >= 4 });
is($status->{process}{last_crash}{signal}, SIGXFSZ, 'and how');
like($status->{process}{last_crash}{time}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'and when');

my $others = $t->status('store');
is($others->{process}{restarts}, 0, 'the other has not crashed');
is($others->{process}{pid}, $small, 'it is the same process');
ok(!$others->{process}{last_crash}, 'which never did');

my (undef, $out) = $t->worker('--status');
like($out, qr/^  process (?:\d+ runs since \S+|does not run, starts in \d+ ms), started again \d+ times in a row, last ended by signal 25 \(File size limit exceeded\) at \S+Z$/m,
    'in words') or diag($out);

my @crashes = grep { $_->{msg} =~ /will be started again/ }
    map { JSON::PP->new->utf8->decode($_) } grep { /^\{.*\}$/ } split /\n/, $t->read_file('worker.out');
is(join(' ', map { "$_->{child} $_->{signal} $_->{in_a_row} $_->{pause_ms}" } @crashes[ 0 .. 3 ]),
    join(' ', map { "big 25 $_ " . 50 * 2**$_ } 1 .. 4), 'the log says which, how, how often, and when it starts again');

send_one(small => 's-2', 10);
is(ids($t->wait_events(2)), 's-1 s-2', 'the other stores what comes');
is(pid_of('store'), $small, 'without a pause');
is(pid_of('keeper'), $keeper, 'the keeper runs on');

# the cause goes
my ($code) = $t->run([ qw(prlimit --fsize=unlimited:unlimited --pid), $t->pid('worker') ]);
is($code, 0, 'files may grow');
is(ids($t->wait_events(2, $t->dir . '/big', 60)), 'b-1 b-2', 'what it could not store is stored, once');

$status = $t->status('big');
cmp_ok($status->{process}{restarts}, '>=', 4, 'it is still said that it has crashed');

# an hour of health
$fault->set('clock-run');
$t->signal('USR1', 'worker');
$t->wait_for('which is forgotten after a while', 30, sub { $status = $t->status('big'); $status->{process}{restarts} == 0 });
ok($status->{process}{last_crash}, 'but not the last time');
$fault->clear;

# and the next time the pauses begin anew
kill ABRT => pid_of('big');
$t->wait_for('it is started again', 30, sub { ($t->status('big')->{process}{restarts} // 0) == 1 && pid_of('big') });
is($t->status('big')->{process}{last_crash}{signal}, 6, 'after another signal');

$t->finish;
done_testing;
