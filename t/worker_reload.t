#!/usr/bin/perl

# What an operator changes under a running worker: its configuration (SIGHUP), its log (SIGUSR1), and,
# while it is stopped, the name of a pipeline.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Nucleus::Test;

my $t = Nucleus::Test->new(queue_options => 'min_free=0 segment=64k', more => <<'END');
pipeline steady { sink file { path %%DIR%%/steady; } }
pipeline changes { batch_events 5; sink file { path %%DIR%%/changes; } }
END
my $dir = $t->dir;
my $worker_conf = "$dir/worker.conf";
my @ids;

sub send_some {
    my ($count, $size) = @_;

    for (1 .. $count) {
        my $id = 'r-' . (1 + @ids);
        my $r = $t->post('/events', qq({"id":"$id","x":") . 'x' x ($size // 10) . '"}');
        $r->status == 202 or fail("$id is taken");
        push @ids, $id;
    }
}

# Exactly what was sent, from number "from" on.
sub has_all {
    my ($name, $from, $store) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my @want = sort @ids[ $from .. $#ids ];
    my @events = $t->wait_events(scalar @want, $store);
    is(join(' ', sort map { $_->{id} } @events), "@want", $name);
}

# What the worker has logged since the last time.
my $seen = 0;

sub new_log { my $text = $t->read_file('worker.out'); my $new = substr $text, $seen; $seen = length $text; return $new }

# Signal the supervisor and wait until it has said what it made of it.
sub hup {
    my ($expect) = @_;

    new_log();
    my $said = '';
    $t->signal('HUP', 'worker');
    $t->wait_for("the worker says: $expect", 30, sub { $said .= new_log(); $said =~ /"msg":"$expect"/ });

    return $said;
}

sub pid_of { return ($t->children('worker', qr/^nucleus-$_[0]$/))[0] }

$t->start;
send_some(10);
has_all("$_: what was sent", 0, "$dir/$_") for qw(store steady changes);

# ---- a configuration that is wrong

my $good = $t->read_file('worker.conf');
my %pid = map { $_ => pid_of($_) } qw(store steady changes keeper);
$t->expect_log(qr/configuration is not taken, the old one stays/);

for my $case (
    [ 'unknown directive'    => "$good\ncolour red;", qr/unknown directive \\"colour\\" in \Q$worker_conf\E:\d+/ ],
    [ 'no such file'         => undef, qr/open of \\"\Q$worker_conf\E\\" failed/ ],
    [ 'a store that is none' => "$good\npipeline x { sink file { path $worker_conf; } }", qr/is not a directory/ ],
    [ 'another state' => $good =~ s{^state .*$}{state $dir/other;}mr,
        qr{the state cannot change from \\"\Q$dir/state\E\\" to \\"\Q$dir/other\E\\" while the worker runs, in \Q$worker_conf\E:1".*"hint":"stop the worker, move} ],
    [ 'another queue' => $good =~ s{path [^;]*/queue;}{path $dir/other;}r,
        qr{the path of the queue cannot change from .*:2".*"hint":"wait until --status shows no lag} ],
  )
{
    my ($name, $text, $message) = @$case;
    defined $text ? $t->write_file('worker.conf', $text) : unlink $worker_conf;
    my $said = hup('configuration is not taken, the old one stays');
    like($said, $message, "SIGHUP: $name");
}

$t->write_file('worker.conf', $good);
is(pid_of($_), $pid{$_}, "$_ runs on") for sort keys %pid;
ok(!-e "$dir/state/pipelines/x", 'nothing of it was registered');

# ---- one that is right: added, changed, removed, unchanged

send_some(5);
my $before = @ids;
$t->write_confs(more => <<'END');
pipeline steady { # a comment, and what has its default value
    batch_size 8m; start latest; sink file { file_size 128m; path %%DIR%%/steady; } }
pipeline changes { batch_events 6; sink file { path %%DIR%%/changes; } }
pipeline added { sink file { path %%DIR%%/added; } }
pipeline late { start latest; sink file { path %%DIR%%/late; } }
END
my $said = hup('configuration taken');
like($said, qr/"msg":"pipeline was added","pipeline":"added"/, 'a pipeline was added');
like($said, qr/"msg":"pipeline was changed, it starts anew","pipeline":"changes"/, 'one was changed');
unlike($said, qr/(?:changed|removed)[^\n]*"pipeline":"(?:steady|store)"/, 'others are left alone');
$t->wait_for('it starts anew', 30, sub { my $new = pid_of('changes'); $new && $new != $pid{changes} });
is(pid_of($_), $pid{$_}, "$_ was not restarted") for qw(store steady keeper);
send_some(5);
has_all("$_: all, once", 0, "$dir/$_") for qw(store steady changes added);
has_all('late: what came after it was added', $before, "$dir/late");

# ---- removed; it holds the log

$t->write_confs(more => 'pipeline steady { sink file { path %%DIR%%/steady; } }');
$said = hup('configuration taken');
like($said, qr/"msg":"pipeline was removed, it drains","pipeline":"$_"/, "$_ was removed") for qw(added changes late);
like($said, qr/a registered pipeline is not in the configuration[^\n]*"pipeline":"$_"/, "$_ holds the log, it says")
    for qw(added changes late);
$t->wait_for('they end', 40, sub { !grep { pid_of($_) } qw(added changes late) });

my $at = @ids;
send_some(60, 4000);
has_all('store goes on', 0);
my ($code, $out) = $t->worker('--status');
my ($held) = $out =~ /^pipeline changes: registered, not configured, holds (\d+) bytes of the log until it is forgotten$/m;
cmp_ok($held // 0, '>', 60 * 4000, '--status: how much of the log it holds') or diag($out);
my $status = $t->status('changes');
is($status->{lag}{records}, 60, 'and how many records');
ok(!$status->{process}, 'it has no process');

# it comes back, and stores what was kept for it
$t->write_confs(more => 'pipeline changes { sink file { path %%DIR%%/changes; } }');
hup('configuration taken');
has_all('changes: all, once', 0, "$dir/changes");

# ---- another name

($code, $out) = $t->worker('--rename', 'steady', 'new');
ok($code == 1 && $out =~ /a worker, process \d+, runs on the state/, '--rename: while a worker runs') or diag($out);
is($t->stop('worker'), 0, 'ends');
send_some(5);

for my $case ([ 'x' => 'y', qr/no pipeline "x" is registered/ ], [ 'steady' => 'added', qr/"added" is registered already/ ],
    [ 'store' => 'y', qr/"store" is in the configuration/ ], [ 'steady' => '../y', qr{"\.\./y" is not the name} ])
{
    my ($from, $to, $message) = @$case;
    ($code, $out) = $t->worker('--rename', $from, $to);
    ok($code == 1 && $out =~ $message, "--rename $from $to is refused") or diag($out);
}

is(($t->worker('--rename', 'steady'))[0], 2, '--rename takes two names');
($code, $out) = $t->worker('--rename', 'steady', 'new');
ok($code == 0 && $out =~ /"steady" is "new"/, '--rename') or diag($out);
$t->write_confs(more => 'pipeline new { sink file { path %%DIR%%/steady; } }');

# ---- the log in a file, which is rotated

my $first = $t->read_file('worker.conf');
$t->write_file('worker.conf', "error_log $dir/events.log info;\n$first");
$t->spawn('worker', $t->worker_command);
$t->wait_for('it logs to its file', 30, sub { $t->read_file('events.log') =~ /"msg":"worker started"/ });
has_all('the pipeline with the new name goes on where it was', 0, "$dir/steady");
is($t->status('new')->{delivered}, scalar @ids, 'its counts too');

# at each rotation, and between them, processes come and go and say so; -s finds the supervisor
for my $round (1 .. 3) {
    my $pid = pid_of('store');
    rename "$dir/events.log", "$dir/events.log.$round" or die "rename failed: $!\n";
    ($code, $out) = $t->worker('-s', 'reopen');
    is($code, 0, '-s reopen') or diag($out);
    $t->wait_for('a new file', 30, sub { -e "$dir/events.log" });
    $t->wait_for('in all processes', 30, sub {
        for my $process ($t->pid('worker'), $t->children('worker')) {
            return 0 if (readlink("/proc/$process/fd/2") // '') ne "$dir/events.log";
        }
        return 1;
    });
    send_some(1);
    $t->write_file('worker.conf', "error_log $dir/events.log info;\n"
        . $first =~ s/pipeline store \{/pipeline store { batch_events @{[ 100 + $round ]};/r);
    ($code, $out) = $t->worker('-s', 'reload');
    is($code, 0, '-s reload') or diag($out);
    $t->wait_for('the pipeline starts anew', 30, sub { my $new = pid_of('store'); $new && $new != $pid });
}

has_all('and all is stored', 0);

# a file that cannot be opened: the old one goes on
$t->expect_log(qr/"msg":"the log stays where it is"/);
rename "$dir/events.log", "$dir/events.log.4" or die "rename failed: $!\n";
mkdir "$dir/events.log";
($code, $out) = $t->worker('-s', 'reopen');
$t->wait_for('it says that it cannot', 30, sub { $t->read_file('events.log.4') =~ /the log stays where it is.*Is a directory/ });
rmdir "$dir/events.log";

# back to where it was, and less of it
$t->write_file('worker.conf', $t->read_file('worker.conf') =~ s/^error_log .*$/error_log stderr notice;/mr);
hup('configuration taken');
like($t->read_file('worker.out'), qr/"msg":"configuration taken"/, 'error_log stderr');
($code, $out) = $t->worker('-s', 'quit');
is($code, 0, '-s quit') or diag($out);
$t->wait_for('it ends', 45, sub { $t->ended('worker') });
is($t->{status}{worker}, 0, 'with status 0');

my $log = join '', map { $t->read_file("events.log.$_") } 1 .. 4;
is(scalar(() = $log =~ /"msg":"process ended"/g), 3, 'no line is lost: each end of the pipeline');
is(scalar(() = $log =~ /"msg":"pipeline drained"/g), 3, 'as it said it itself');
is(scalar(() = $log =~ /"msg":"process started"/g), 3 + 3, 'each start');
is(scalar(() = $log =~ /"msg":"configuration taken"/g), 3, 'each reload');
is(scalar(() = $log =~ /^(?!\{.*\}$).+$/mg), 0, 'no half lines');

($code, $out) = $t->worker('-s', 'reload');
ok($code == 1 && $out =~ /no worker runs on the state/, '-s: no worker runs') or diag($out);
is(($t->worker('-s', 'dance'))[0], 2, '-s: no such signal');

($code, $out) = $t->worker('--status');
like($out, qr/^no worker runs$/m, '--status says that none runs');

# ---- forgotten: the log is not kept any more

for my $name (qw(added changes late)) {
    ($code, $out) = $t->worker('--forget', $name);
    is($code, 0, "--forget $name") or diag($out);
}

$t->start_worker or die "nucleus-worker does not start\n";
$t->wait_for('the log is not kept any more', 30, sub { my @left = glob "$dir/queue/*/*.seg"; @left <= 3 });

$t->finish;
done_testing;
