#!/usr/bin/perl

# A worker that comes to a log in which much has gathered: it says how far it is behind, how fast it goes
# and when it will be done, and its memory does not grow with the backlog.
#
# NUCLEUS_BACKLOG=10g for a real one (make backlog): a little more than that must be free below TMPDIR.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP ();
use Test::More;

use Nucleus::Fault;
use Nucleus::Test;

use constant {
    EVENT   => 1000,    # bytes
    REQUEST => 1000,    # events
};

my %unit = (k => 2**10, m => 2**20, g => 2**30);
my ($number, $unit) = ($ENV{NUCLEUS_BACKLOG} // '24m') =~ /^(\d+)([kmg])$/ or die "NUCLEUS_BACKLOG is a size\n";
my $requests = int $number * $unit{$unit} / (EVENT * REQUEST);
my $records = $requests * REQUEST;

my $t = Nucleus::Test->new(
    queue_options => 'min_free=0 max_size=100g segment=8m',
    pipeline      => 'batch_events 100;',
);
my $fault = Nucleus::Fault->new($t);

$t->start_nginx or die "nginx does not start\n";

# ---- the backlog

my $body = '';

for my $i (1 .. REQUEST) {
    my $event = qq({"n":$i,"x":");
    $body .= $event . 'x' x (EVENT - 3 - length $event) . qq("}\n);
}

my $client = $t->client;
my $refused = 0;

for my $i (1 .. $requests) {

    # nginx closes a connection after a thousand
    $client = $t->client if $i % 500 == 0;
    my $r = $client->request('POST', '/events', [ 'Content-Type' => 'application/x-ndjson' ], $body);
    $refused++ if !$r || $r->status != 202;
}

is($refused, 0, "$records records are in the log");

# ---- slowly: each sync of the store takes its time

my $env = { %{ $fault->env }, NUCLEUS_FAULT_DIR => $t->store };

# the sanitizer keeps what was freed, which is not what is measured here
$env->{ASAN_OPTIONS} .= ':quarantine_size_mb=1';

$fault->set('sync-slow');
$t->spawn('worker', $t->worker_command, env => $env);

my $said = sub {
    my ($msg) = @_;
    return grep { $_->{msg} eq $msg }
        map { JSON::PP->new->utf8->decode($_) } grep { /^\{.*\}$/ } split /\n/, $t->read_file('worker.out');
};

my ($behind) = $t->wait_for('the log says how far it is behind', 60, sub { ($said->('catching up'))[0] });
cmp_ok($behind->{lag_records}, '<', $records, 'fewer records than there were');
cmp_ok($behind->{lag_records}, '>', 0, 'more than none');
cmp_ok($behind->{lag_bytes}, '>', $behind->{lag_records} * EVENT, 'so many bytes');
cmp_ok($behind->{records_per_second}, '>', 0, 'how fast it goes');
is($behind->{level}, 'info', 'which is no alarm');

# within a factor: the speed is smoothed
my $left = $behind->{lag_records} / $behind->{records_per_second};
cmp_ok($behind->{seconds_left}, '>', $left / 3, 'and when it will be done');
cmp_ok($behind->{seconds_left}, '<', $left * 3, 'about');

my $status;
$t->wait_for('another process is told the same', 30, sub {
    $status = $t->status;
    return $status->{lag}{records_per_second} && defined $status->{lag}{seconds_left};
});
cmp_ok($status->{lag}{records}, '<=', $behind->{lag_records} + 100, 'a lag that shrinks');
my (undef, $out) = $t->worker('--status');
like($out, qr/^  reads \d+ records a second, will have caught up in \d+ s$/m, 'in words');

# a worker that is told to stop does not stay until it has caught up
my $before = $t->status->{read};
$t->signal('HUP', 'worker');
$t->wait_for('a configuration that has not changed', 30, sub { $said->('configuration taken') });
$t->write_confs(pipeline => 'batch_events 5000;');
$t->signal('HUP', 'worker');
$t->wait_for('one that changed it stops behind', 60, sub { $said->('pipeline stops behind, the log keeps the rest') });
$t->wait_for('and goes on from there', 30, sub { my $s = $t->status; $s && $s->{read} > $before && $s->{process}{pid} });

# ---- at full speed

$fault->clear;
$t->wait_for('it has caught up', 60 + $records / 1000, sub { my $s = $t->status; $s && $s->{read} == $records });
$status = $t->status;
is($status->{delivered}, $records, 'all is stored');
is($status->{lag}{records}, 0, 'no lag');
ok(!exists $status->{lag}{seconds_left}, 'nor any time left');

my ($pid) = $t->children('worker', qr/^nucleus-store$/);
my ($peak) = $t->read_file("/proc/$pid/status") =~ /^VmHWM:\s+(\d+) kB/m;
cmp_ok($peak, '<', 100 * 1024, "its memory has a bound: $peak KB");

my $lines = 0;
for my $file (Nucleus::Store::files($t->store)) {
    open my $fh, '<:raw', $file or die "open of $file failed: $!\n";
    $lines++ while <$fh>;
}
is($lines, $records, 'each once');

diag(join "\n", map { JSON::PP->new->canonical->encode($_) } $said->('catching up'), $said->('caught up'))
    if $ENV{NUCLEUS_BACKLOG};

$t->finish;
done_testing;
