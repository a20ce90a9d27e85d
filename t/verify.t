#!/usr/bin/perl

# nucleus-worker --verify: beside a running nginx and worker, and for each kind of damage.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use File::Copy ();
use JSON::PP ();
use Test::More;

use Nucleus::Test;

my $t = Nucleus::Test->new(queue_options => 'min_free=0 segment=16k', store => '/dev/null');

sub verify {
    my ($dir, @more) = @_;

    return $t->run([ Nucleus::Test::worker_binary(), '--verify', $dir, @more ]);
}

sub verify_json {
    my ($dir) = @_;

    my ($status, $out) = verify($dir, '--json');
    my $json = eval { JSON::PP->new->utf8->decode($out) };
    ok(ref $json eq 'HASH', 'JSON') or diag("$@: $out");

    return ($status, $json);
}

# ---- what can't be looked at

my ($status, $out) = verify($t->dir . '/nowhere');
is($status, 2, 'no directory: 2');
like($out, qr/^nucleus-worker: listing of ".*nowhere" failed \(2: No such file or directory\)$/m, 'which is said');
mkdir $t->dir . '/empty';
($status, $out) = verify($t->dir . '/empty');
is($status, 2, 'no queue: 2');
like($out, qr/is no queue: it has no writer/, 'which is said');

# ---- beside a running nginx, without a worker; then with one that seals and delivers nothing

$t->start_nginx or die "nginx does not start\n";
my $sent = 0;

sub send_some {
    for (1 .. $_[0]) {
        my $id = 'verify-' . ++$sent;
        is($t->post('/events', qq({"id":"$id","x":") . 'x' x 3000 . '"}')->status, 202, "$id is taken") or last;
    }
}

send_some(30);
($status, $out) = verify($t->queue);
is($status, 0, 'beside a running nginx: 0') or diag($out);
my ($pid) = $t->nginx_workers;
like($out, qr/^writer [0-9a-f-]{36}: living, process $pid, \d+ segments$/m, 'living, by its process');
like($out, qr/^  segment 00000000000000000001: not sealed, \d+ records \(1 to \d+\), \d+ bytes, index missing$/m, 'a segment');
like($out, qr/^  segment \d{20}: open, /m, 'the one that is written');
like($out, qr/^2 writers, \d+ segments, 30 records, \d+ bytes: no damage$/m, 'a summary in words');

# while it is written
my $child = fork // die "fork failed: $!\n";

if ($child == 0) {
    $t->post('/events', '{"x":"' . 'y' x 3000 . '"}') for 1 .. 60;
    POSIX::_exit(0);
}

my $looks = 0;
my $wrong = '';

do {
    my ($status, $out) = verify($t->queue);
    $wrong .= $out if $status != 0 || $out !~ /no damage$/;
    $looks++;
} while (waitpid($child, POSIX::WNOHANG()) == 0 && $looks < 200);

waitpid $child, 0;
is($wrong, '', "$looks looks while it is written: never a false alarm");

$t->expect_log(qr/pipeline failed, will open it again/, qr/process ended.*"exit_code":1/);
$t->start_worker or die "nucleus-worker does not start\n";
ok($t->wait_for('segments are sealed', 30, sub {
    ($status, $out) = verify($t->queue);
    return $out =~ /: sealed, \d+ records .* index ok$/m;
}), 'beside a worker that seals');
is($status, 0, 'no damage') or diag($out);

($status, $out) = verify($t->state);
is($status, 0, 'a state directory: 0');
like($out, qr/^pipeline store: commit ok, generation \d+, read 0, \d+ writers\n1 pipelines: no damage$/m, 'its commits');

$t->stop('nginx');
ok($t->wait_for('all is sealed', 30, sub { (verify($t->queue))[1] !~ /: not sealed, [1-9]|: open/ }), 'all is sealed');
isnt($t->stop('worker'), 0, 'the worker ends, without having drained');

($status, my $json) = verify_json($t->queue);
is($status, 0, 'at rest: 0');
is($json->{summary}{records}, 90, 'all records');
is($_->{state}, 'dead', 'a dead writer') for @{ $json->{writers} };
is(scalar @{ $json->{findings} }, 0, 'nothing found');

# ---- damage, each kind alone, in a copy

my ($writer) = sort { $b->{segments} <=> $a->{segments} } @{ $json->{writers} };
my @segments = grep { $_->{writer} eq $writer->{writer} && $_->{records} > 0 } @{ $json->{segments} };
cmp_ok(scalar @segments, '>', 4, 'several segments');

sub spoil {
    my ($file, $offset, $bytes) = @_;

    open my $fh, '+<:raw', $file or die "open of $file failed: $!\n";
    seek $fh, $offset, 0;
    print {$fh} $bytes;
    close $fh;
}

sub name_of { return sprintf '%020d', $_[0]{segment} }

my $middle = $segments[2];
my $last = $segments[-1];

my @cases = (
    [ 'a frame', sub { spoil("$_[0]/" . name_of($middle) . '.seg', 100, 'X' x 8) }, 1, 1,
        qr/DAMAGE in segment 0*$middle->{segment} at offset 64: \d+ bytes, 1 records lost \(from $middle->{first}\)/ ],
    [ 'a segment cut short', sub { truncate "$_[0]/" . name_of($last) . '.seg', 64 }, 1, $last->{records},
        qr/DAMAGE in segment 0*$last->{segment} at offset 64: 0 bytes, $last->{records} records lost/ ],
    [ 'a header', sub { spoil("$_[0]/" . name_of($middle) . '.seg', 0, 'X') }, 1, 0, qr/segment 0*$middle->{segment}: .*HEADER DAMAGED/ ],
    [ 'the head', sub { spoil("$_[0]/head", 0, 'X') }, 1, 0, qr/dead, \d+ segments, HEAD DAMAGED OR MISSING/ ],
    [ 'an index', sub { spoil("$_[0]/" . name_of($middle) . '.idx', 200, 'XX') }, 1, 0, qr/segment 0*$middle->{segment}: .*index damaged/ ],
    [ 'an index of another segment', sub {
            my @two = map { "$_[0]/" . name_of($_) . '.idx' } $middle, $last;
            File::Copy::copy($two[1], $two[0]) or die "copy failed: $!\n";
        }, 1, 0, qr/segment 0*$middle->{segment}: .*index damaged/ ],
    [ 'no index', sub { unlink "$_[0]/" . name_of($middle) . '.idx' }, 0, 0, qr/segment 0*$middle->{segment}: not sealed, .*index missing/ ],
    [ 'no segment', sub { unlink map { "$_[0]/" . name_of($middle) . ".$_" } qw(seg idx) }, 1, $middle->{records},
        qr/MISSING before segment \d+: $middle->{records} records \(from $middle->{first}\), a segment was removed/ ],
    [ 'a torn tail', sub {
            unlink "$_[0]/" . name_of($last) . '.idx';
            spoil("$_[0]/" . name_of($last) . '.seg', $last->{bytes}, "\x10\0\0\0" . 'X' x 20);
        }, 0, 0, qr/torn tail of segment 0*$last->{segment} at offset $last->{bytes}: 24 bytes/ ],
    [ 'leftovers', sub { $t->write_file("$_[0]/notes.txt", 'x'); $t->write_file("$_[0]/../.new-x/head", '') }, 0, 0,
        qr/leftover: .*notes\.txt\n(?:.*\n)*leftover: .*\.new-x/ ],
    [ 'quarantine', sub { $t->write_file("$_[0]/../quarantine/a.bin", 'x' x 7) }, 0, 0, qr/quarantine: .*a\.bin, 7 bytes/ ],
);

for my $case (@cases) {
    my ($name, $do, $want, $lost, $said) = @$case;
    my $copy = $t->dir . '/copy';

    system('cp', '-a', $t->queue, $copy) == 0 or die "cp failed\n";
    $do->("$copy/$writer->{writer}");

    ($status, $out) = verify($copy);
    is($status, $want, "$name: exit status $want") or diag($out);
    like($out, $said, "$name: said");
    like($out, $want ? qr/: DAMAGE in \d+ places, $lost records lost/ : qr/: no damage/, "$name: summed up");

    ($status, $json) = verify_json($copy);
    is($status, $want, "$name: the same as JSON");
    is($json->{summary}{lost}, $lost, "$name: $lost lost");
    File::Path::remove_tree($copy);
}

spoil($t->state . '/pipelines/store/commit', 20, 'X');
($status, $out) = verify($t->state);
is($status, 1, 'a damaged commit: 1');
like($out, qr/^pipeline store: DAMAGE: the commit is damaged: its checksum is another, in ".*"\n1 pipelines: DAMAGE$/m, 'said');

$t->finish;
done_testing;
