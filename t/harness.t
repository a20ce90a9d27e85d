#!/usr/bin/perl

# The harness itself: each of its checks fails when it should, and leaves nothing behind.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA ();
use Test::More;

use Nucleus::Ledger;
use Nucleus::Store;
use Nucleus::Test;

my $t = Nucleus::Test->new;
my $temp = $t->dir . '/temp';
my $marks = 0;

# Run a test of its own with these lines in the middle: does it pass, and what does it print?
sub inner {
    my ($lines) = @_;

    mkdir $temp;
    $marks++;

    my $file = $t->write_file("inner-$marks.t", <<"END");
use strict; use warnings; use Test::More;
use lib '$FindBin::Bin/lib';
use Nucleus::Test; use Nucleus::Ledger;
my \$t = Nucleus::Test->new;
$lines
\$t->finish;
done_testing;
END
    my ($status, $out) = $t->run([ $^X, $file ], env => { TMPDIR => $temp, NUCLEUS_KEEP => '' });
    my @left = glob "$temp/*";
    my @processes = grep { Nucleus::Test::cmdline($_) =~ /\Q$temp\E/ } keys %{ Nucleus::Test::processes() };

    is("@processes", '', 'no process is left');
    system 'rm', '-rf', $temp;

    return ($status, $out, scalar @left);
}

sub passes {
    my ($name, $lines) = @_;

    my ($status, $out, $left) = inner($lines);
    is($status, 0, "passes: $name") or diag($out);
    is($left, 0, 'the directory is removed');
}

sub fails {
    my ($name, $lines, $why) = @_;

    my ($status, $out, $left) = inner($lines);
    isnt($status, 0, "fails: $name") or diag($out);
    like($out, $why, 'and says why');
    is($left, 1, 'the directory is kept');
}

passes('nothing runs', '');
passes('both run', '$t->start;');
passes('an expected line', '$t->write_file("error.log", "x [alert] expected\n"); $t->expect_log(qr/expected/);');
passes('harmless lines', '$t->write_file("error.log", "x [error] a\n[warn] alert\n");');

fails("$_ in the log", "\$t->write_file('error.log', '2026 [$_] 1#1: bad');",
    qr/error\.log: 2026 \[$_\]/) for qw(alert crit emerg);
fails('an error of the worker', q($t->write_file('worker.out', '{"level":"error","msg":"bad"}');),
    qr/worker\.out: \{"level":"error"/);
fails('a report of the address sanitizer', q($t->write_file('nginx.out',
    "==1==ERROR: AddressSanitizer: heap\n");), qr/nginx\.out: ==1==ERROR/);
fails('a leak', q($t->write_file('error.log', "==1==ERROR: LeakSanitizer: detected\n");), qr/LeakSanitizer/);
fails('undefined behaviour', q($t->write_file('nginx.out', "a.c:1:2: runtime error: shift\n");),
    qr/runtime error/);
fails('another pattern than the expected', q($t->expect_log(qr/b/); $t->write_file('error.log', "[alert] c\n");), qr/\[alert\] c/);

fails('nginx has ended by itself', '$t->start; $t->expect_log(qr/exited/); $t->kill_all("nginx"); $t->spawn("nginx", ["true"]);'
        . '$t->wait_for("end", 10, sub { !Nucleus::Test::group($t->pid("nginx")) });',
            qr/nginx has not ended by itself/);
fails('a daemon that does not end', '$t->spawn("worker", ["sh", "-c", "trap : TERM; echo here; while :; do sleep 0.1; done"]);'
        . '$t->wait_for("sh", 10, sub { $t->read_file("worker.out") }); $t->stop("worker", "TERM", 1);',
            qr/worker ends after SIGTERM/);
fails('a status', '$t->spawn("worker", ["sh", "-c", "trap \"exit 3\" TERM; echo here; while :; do sleep 0.1; done"]);'
        . '$t->wait_for("sh", 10, sub { $t->read_file("worker.out") });', qr/worker ends with status 0/);
fails('a child that is left', '$t->spawn("other", ["sh", "-c", "sleep 1000 & echo here"]);'
        . '$t->wait_for("sh", 10, sub { $t->ended("other") });', qr/no process is left/);
fails('a condition that does not come', '$t->wait_for("Godot", 0.2, sub { 0 });', qr/Godot within 0\.2 s/);
fails('a test that dies', '$t->start; die "in the middle\n";', qr/in the middle/);
fails('a configuration that is wrong', '$t->write_confs(http => "colour red;"); $t->start;',
    qr/unknown directive "colour"/);

# ---- the ledger: what is lost, doubled, changed, or there against its word

sub line {
    my ($id, $data, $sha) = @_;

    $sha //= Digest::SHA::sha256_hex($data);

    return qq({"rid":"0","tenant":"t","id":"$id","data_sha256":"$sha","data":$data}\n);
}

sub ledger {
    my ($name, $status, $lines, $ok) = @_;

    my $sha = Digest::SHA::sha256_hex('{"a":1}');
    my $ledger = Nucleus::Ledger->new($t, senders => 1, name => 'l');
    my $dir = $t->dir . '/fake';
    system 'rm', '-rf', $dir;
    my $request = 0;
    $t->write_file('l.1', join '', map {
        $request++;
        "S $request l-0-1 $sha\n" . ($_ ? "A $request $_ 0\n" : '');
    } ref $status ? @$status : $status);
    $t->write_file("$dir/x.ndjson", $lines);

    my $event = $ledger->read_on->{events};
    my ($times, $wrong) = $ledger->compare($event, $dir);
    push @$wrong, @{ $ledger->{wrong} };
    my ($books) = $ledger->judge($event, $times, $wrong);
    is(@$wrong ? 'wrong' : 'right', $ok ? 'right' : 'wrong', "ledger: $name") or diag("@$wrong");
}

my $good = line('l-0-1', '{"a":1}');

ledger('acknowledged and stored', '202 -', $good, 1);
ledger('acknowledged and lost', '202 -', '', 0);
ledger('acknowledged and stored twice', '202 -', $good x 2, 0);
ledger('acknowledged and changed', '202 -', line('l-0-1', '{"a":2}'), 0);
ledger('changed under its hash', '202 -', line('l-0-1', '{"a":2}', Digest::SHA::sha256_hex('{"a":1}')), 0);
ledger('never sent', '202 -', $good . line('l-0-2', '{}'), 0);
ledger('refused and not stored', '400 invalid-json', '', 1);
ledger('refused and stored', '400 invalid-json', $good, 0);
ledger('503, nothing was stored', '503 queue-full', '', 1);
ledger('503, stored against its word', '503 queue-full', $good, 0);
ledger('outcome unknown, stored', '503 outcome-unknown', $good, 1);
ledger('outcome unknown, not stored', '503 outcome-unknown', '', 1);
ledger('outcome unknown, stored twice', '503 outcome-unknown', $good x 2, 0);
ledger('unanswered, stored', '0 first', $good, 1);
ledger('refused, sent again, stored', [ '503 queue-full', '202 -' ], $good, 1);
ledger('refused, sent again, stored twice', [ '503 queue-full', '202 -' ], $good x 2, 0);
ledger('an idle connection, sent again, stored', [ '0 idle', '202 -' ], $good, 1);
ledger('an idle connection, sent again, stored twice', [ '0 idle', '202 -' ], $good x 2, 0);
ledger('acknowledged, sent again', [ '202 -', '202 -' ], $good, 0);
ledger('unanswered, stored twice', undef, $good x 2, 0);

# ---- reading lines back

is(Nucleus::Store::event('{"rid":"1","id":"a\\"b\\u00e9","data_sha256":"' . '0' x 64 . '","data":{"x": 1 }}')->{id},
    qq(a"b\xc3\xa9), 'attributes are unescaped');
is(Nucleus::Store::event('{"rid":"1","data_sha256":"' . '0' x 64 . '","data":{"x": 1 }}')->{data},
    '{"x": 1 }', 'data is as it stands');
is(Nucleus::Store::event($_), undef, "no line of the store: $_") for '', '{}', '{"rid":"1"}', 'x' . $good;

$t->finish;
done_testing;
