#!/usr/bin/perl

# Where a queue may lie, and what becomes of it when descriptors run out, the file system turns
# read-only, or files can't be read: exact messages, nothing acknowledged is lost, and it goes on by
# itself.  docs/failures.md has a row for each.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Nucleus::Fault;
use Nucleus::Test;

my $t = Nucleus::Test->new(queue_options => 'min_free=0 segment=64k');
my $fault = Nucleus::Fault->new($t);
$t->write_confs(env => $fault->env);

my $number = 0;
my (%acked, %refused);

sub send_one {
    my ($size) = @_;

    my $id = 'storage-' . ++$number;
    my $r = $t->post('/events', qq({"id":"$id","x":") . 'x' x ($size // 10) . '"}');
    my $to = $r->status == 202 ? \%acked : \%refused;
    $to->{$id} = ($r->json // {})->{type} // '';

    return $r;
}

sub log_has {
    my ($file, $pattern, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    return ok($t->wait_for($name, 30, sub { $t->read_file($file) =~ $pattern }), $name);
}

# ---- file systems

{
    my $queue = quotemeta $t->queue;

    my ($status, $out) = $t->nginx_test;
    is($status, 0, 'a disk is taken') or diag($out);

    $fault->set('fs-tmpfs');
    ($status, $out) = $t->nginx_test;
    isnt($status, 0, 'tmpfs: refused by nginx -t');
    like($out, qr/\[emerg\] nucleus queue "$queue" lies on tmpfs, whose files are gone with the power: put it on a disk in /,
        'which says why');

    ($status, $out) = $t->worker('-t');
    is($status, 1, 'and by nucleus-worker -t');
    like($out, qr/queue "$queue" lies on tmpfs, whose files are gone with the power\n.*hint: put it on a disk/, 'likewise');

    $fault->set('fs-overlay');
    ($status, $out) = $t->nginx_test;
    is($status, 0, 'overlayfs: taken by nginx -t');
    like($out, qr/\[warn\] nucleus queue "$queue" lies on overlayfs, whose files may be gone with their container: put it on a volume in /,
        'with a warning');

    ($status, $out) = $t->worker('-t');
    is($status, 0, 'and by nucleus-worker -t');
    like($out, qr/warning: queue "$queue" lies on overlayfs, whose files may be gone with their container: put it on a volume/,
        'with a warning');

    $fault->set('fs-tmpfs');
    ($status, $out) = $t->worker;
    is($status, 1, 'tmpfs: nucleus-worker does not start');
    like($out, qr/"msg":"worker cannot start","error":"queue \\"$queue\\" lies on tmpfs, whose files are gone with the power"/, 'and says why');

    $fault->set('fs-nfs');
    ($status, $out) = $t->nginx_test;
    is($status, 0, 'NFS: taken');
    like($out, qr/\[warn\] nucleus queue "$queue" lies on nfs, which alone decides what a sync and a lock mean/, 'with a warning');

    $fault->clear;
}

# ---- beneath a running nginx and worker

$t->start_nginx or die "nginx does not start\n";
$t->start_worker or die "nucleus-worker does not start\n";

is(send_one()->status, 202, 'at first all is well');
$t->wait_events(1);

# a reload onto a file system that forgets: the old configuration goes on
$t->expect_log(qr/\[emerg\].*lies on tmpfs/);
$fault->set('fs-tmpfs');
$t->signal('HUP', 'nginx');
log_has('error.log', qr/\[emerg\].*lies on tmpfs/, 'a reload refuses tmpfs');
$fault->clear;
is(send_one()->status, 202, 'and the old configuration goes on');

# ---- no descriptors in nginx: those that are open go on, a new segment has to wait

sub comes_back {
    my ($name) = @_;

    $t->wait_ready(30);

    for my $size (10, 300_000) {
        ok($t->wait_for("$name: taken again", 30, sub { send_one($size)->status == 202 }), "$name: taken again");
    }
}

my %said = (
    'open-none' => '24: Too many open files',
    'read-only' => '30: Read-only file system',
);

for my $word ('open-none', 'read-only') {
    my $expected = quotemeta $said{$word};

    $t->expect_log(qr/accepts no events: .*$expected/, qr/keeper's round failed.*$expected/, qr/pipeline failed.*$expected/);
    $fault->set($word);

    for my $size (30_000, 300_000) {
        ok($t->wait_for("$word: refused", 30, sub { send_one($size)->status == 503 }), "$word: $size bytes are refused");
    }

    $t->is_problem(send_one(), 503, 'queue-failed', {}, "$word: queue-failed");
    is($t->get('/live')->status, 200, "$word: nginx lives");
    log_has('error.log', qr/nucleus queue for \w+ bodies accepts no events: .*\($expected\)/, "$word: nginx says so");
    log_has('worker.out', qr/"msg":"keeper's round failed".*\($expected\)/, "$word: the keeper says so");

    $fault->clear;
    comes_back($word);
}

# ---- the pipeline can't read

$t->expect_log(qr/(?:pipeline failed|keeper's round failed).*Input.output error/);
$fault->set('read-fail');
is(send_one()->status, 202, 'reads fail: nginx takes events all the same');
log_has('worker.out', qr/"msg":"pipeline failed, will open it again","error":"read failed \(5: Input\/output error\)"/,
    'reads fail: the pipeline says so');
$fault->clear;

my @events = $t->wait_events(sub { my %seen = map { $_->{id} => 1 } @_; !grep { !$seen{$_} } keys %acked }, undef, 90);
my %count;
$count{ $_->{id} }++ for @events;
is(scalar(grep { $count{$_} != 1 } keys %acked), 0, 'every acknowledged event is stored once');
is(scalar(grep { $count{$_} && $refused{$_} !~ /unknown/ } keys %refused), 0, 'none that was refused');

my $status = $t->status;
is($status->{corrupt}, 0, 'nothing is thought lost') or diag(explain($status));

$t->finish;

# ---- the disk of a store: in memory, which is a warning; then it hangs, and nobody else waits

{
    my $u = Nucleus::Test->new(more => 'pipeline other { sink file { path %%DIR%%/other; } }');
    my $stuck = Nucleus::Fault->new($u);

    $u->write_confs(env => { %{ $stuck->env }, NUCLEUS_FAULT_DIR => $u->store });
    $u->write_file("$_/.keep", '') for qw(store state);
    $u->start_nginx or die "nginx does not start\n";
    $stuck->set('fs-tmpfs');
    $u->start_worker or die "nucleus-worker does not start\n";
    ok($u->wait_for('a store in memory', 30, sub {
        $u->read_file('worker.out') =~ /"level":"warn".*"msg":"a sync may not be one","error":"sink .* lies on tmpfs/
    }), 'a store in memory is a warning');
    $stuck->clear;
    is($u->post('/events', '{"id":"stuck-0"}')->status, 202, 'a first event');

    # its line is in the file before its commit is
    $u->wait_for('its commit', 30, sub { ($u->status // {})->{delivered} });

    my $hits = $stuck->hits;
    $stuck->set('sync-stall');
    is($u->post('/events', qq({"id":"stuck-$_"}))->status, 202, 'the store hangs: nginx takes events') for 1 .. 5;
    ok($u->wait_for('the sync has begun', 30, sub { $stuck->hits > $hits }), 'the store hangs: a sync waits');
    is(scalar $u->wait_events(6, $u->dir . '/other'), 6, 'the store hangs: the other pipeline goes on');
    is($u->get('/health')->status, 200, 'the store hangs: nginx is ready');
    is($u->status->{delivered}, 1, 'the store hangs: nothing more is committed');
    is($u->status->{lag}{records}, 5, 'the store hangs: the lag says so');
    $stuck->clear;

    ok($u->wait_for('all is delivered', 30, sub { $u->status->{delivered} == 6 }), 'it goes on by itself');
    my %seen;
    $seen{ $_->{id} }++ for $u->events;
    is(join(' ', map { "$_ $seen{$_}" } sort keys %seen), join(' ', map { "stuck-$_ 1" } 0 .. 5), 'and stores each once');
    $u->finish;
}

done_testing;
