#!/usr/bin/perl

# nucleus-worker: its configuration, what goes where, what survives which death, what is removed from
# the log and when, and its commands.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP ();
use Test::More;

use Nucleus::Fault;
use Nucleus::Test;

my $number = 0;

# Post an event that has the id; to a stream and tenant, which the location makes of the URI.
sub send_one {
    my ($t, %opt) = @_;

    my $id = 'w-' . ++$number;
    my $uri = '/to/' . ($opt{stream} // 'json') . '/' . ($opt{tenant} // 'default');
    my $r = $t->post($uri, qq({"id":"$id","x":") . 'x' x ($opt{size} // 10) . '"}');

    if ($r->status != 202) {
        fail("$id is taken");
        diag($r->text);
    }

    return $id;
}

sub ids { return join ' ', sort map { $_->{id} } @_ }

my $locations = 'location ~ ^/to/(?<stream>[^/]+)/(?<tenant>[^/]+)$ {'
    . ' nucleus auto; nucleus_stream $stream; nucleus_tenant $tenant; }';

# All segments of the log.
sub segments { my @segments = glob $_[0]->queue . '/*/*.seg'; return @segments }

# ---- -t

{
    my $t = Nucleus::Test->new;

    my $try = sub {
        my ($text) = @_;
        $t->write_file('worker.conf', $text);
        return $t->worker('-t');
    };

    my $dir = $t->dir;
    my $head = "state $dir/state;\nqueue log { path $dir/queue; }\n";
    my $sink = "sink file { path $dir/store; }";

    my ($status, $out) = $try->("${head}pipeline a { $sink }\n");
    is($status, 0, '-t: good');
    like($out, qr/worker\.conf test is successful/, 'and says so');
    ok(!-e "$dir/state" && !-e "$dir/store", '-t makes nothing');

    ($status, $out) = $try->(<<"END");
# all there is
state "$dir/state";
queue log { path '$dir/queue'; }
pipeline a { tenants *; streams a b-*; kinds json xapi; start latest; batch_size 1m; batch_events 10;
    batch_time 100ms; sink file { path $dir/store; file_size 1m; } }
pipeline b { tenants x y; start earliest; kinds *; $sink }
END
    is($status, 0, '-t: everything') or diag($out);

    my @bad = (
        [ 'unknown directive'  => 3, "${head}colour red;",                         qr/unknown directive "colour"/ ],
        [ 'unknown in pipeline' => 4, "${head}pipeline a {\ncolour red; $sink }",  qr/unknown directive "colour"/ ],
        [ 'unknown in sink'    => 5, "${head}pipeline a {\nsink file {\ncolour red; } }", qr/unknown directive "colour"/ ],
        [ 'duplicate pipeline' => 4, "${head}pipeline a { $sink }\npipeline a { $sink }", qr/duplicate pipeline "a"/ ],
        [ 'duplicate state'    => 3, "${head}state x;\npipeline a { $sink }",      qr/"state" is duplicate/ ],
        [ 'duplicate queue'    => 3, "${head}queue log { path x; }",               qr/"queue" is duplicate/ ],
        [ 'two sinks'          => 3, "${head}pipeline a { $sink $sink }",          qr/"sink" is duplicate/ ],
        [ 'no sink'            => 3, "${head}pipeline a { tenants *; }",           qr/no "sink" in pipeline "a"/ ],
        [ 'no path'            => 3, "${head}pipeline a { sink file { } }",        qr/no "path"/ ],
        [ 'unknown sink'       => 3, "${head}pipeline a { sink s3 { } }",          qr/unknown sink "s3"/ ],
        [ 'unknown queue'      => 1, "queue kafka { }",                            qr/kafka/ ],
        [ 'no queue path'      => 1, "queue log { }",                              qr/path/ ],
        [ 'bad name'           => 3, "${head}pipeline ../a { $sink }",             qr{"\.\./a"} ],
        [ 'upper case name'    => 3, "${head}pipeline A { $sink }",                qr/"A"/ ],
        [ 'no name'            => 3, "${head}pipeline { $sink }",                  qr/arguments in "pipeline"/ ],
        [ 'bad tenant'         => 3, "${head}pipeline a { tenants a/b; $sink }",   qr{"a/b" in "tenants"} ],
        [ 'bad kind'           => 3, "${head}pipeline a { kinds csv; $sink }",     qr/"csv"/ ],
        [ 'bad start'          => 3, "${head}pipeline a { start now; $sink }",     qr/"now"/ ],
        [ 'bad size'           => 3, "${head}pipeline a { batch_size 1x; $sink }", qr/"1x" in "batch_size"/ ],
        [ 'size 0'             => 3, "${head}pipeline a { batch_size 0; $sink }",  qr/"0" in "batch_size"/ ],
        [ 'bad time'           => 3, "${head}pipeline a { batch_time x; $sink }",  qr/"x" in "batch_time"/ ],
        [ 'bad count'          => 3, "${head}pipeline a { batch_events 1k; $sink }", qr/"1k" in "batch_events"/ ],
        [ 'no semicolon'       => 1, "state x",                                    qr// ],
        [ 'no brace'           => 3, "${head}pipeline a { $sink",                  qr// ],
        [ 'a brace too many'   => 3, "${head}}",                                   qr// ],
        [ 'a block for state'  => 1, "state x { }",                                qr/"state" takes no block/ ],
        [ 'no block'           => 3, "${head}pipeline a;",                         qr/"pipeline" has no opening/ ],
    );

    for my $case (@bad) {
        my ($name, $line, $text, $message) = @$case;
        ($status, $out) = $try->($text);
        ok($status == 1 && $out =~ $message && $out =~ m{\Q$dir\E/worker\.conf:\Q$line\E\b}, "-t: $name")
            or diag("status $status: $out");
    }

    for my $case ([ 'no queue' => "state x;\npipeline a { $sink }", qr/no "queue"/ ],
        [ 'no pipeline' => $head, qr/no "pipeline"/ ], [ 'nothing' => '', qr/no "queue"/ ])
    {
        my ($name, $text, $message) = @$case;
        ($status, $out) = $try->($text);
        ok($status == 1 && $out =~ $message, "-t: $name") or diag("status $status: $out");
    }

    $t->write_file('file', '');
    ($status, $out) = $try->("${head}pipeline a { sink file { path $dir/file; } }");
    ok($status == 1 && $out =~ /is not a directory/, '-t: a store that is a file') or diag($out);

    unlink "$dir/worker.conf";
    ($status, $out) = $t->worker('-t');
    ok($status == 1 && $out =~ /worker\.conf/, '-t: no file') or diag($out);

    for my $args ([qw(--nothing)], [qw(-t --status)], [qw(--json)], [qw(-t more)], [qw(--find)], [qw(--forget)]) {
        ($status, $out) = $t->worker(@$args);
        is($status, 2, "@$args: 2");
    }

    ($status, $out) = $t->worker('--help');
    ok($status == 0 && $out =~ /^usage: nucleus-worker/, '--help');
    ($status, $out) = $t->worker('--version');
    ok($status == 0 && $out =~ /^nucleus-worker \d+\.\d+\.\d+$/, '--version');

    $t->finish;
}

# ---- filters and partitions

{
    my $t = Nucleus::Test->new(locations => $locations, more => <<'END');
pipeline a-only { streams a;         sink file { path %%DIR%%/a-only; } }
pipeline t-only { tenants t1 u*;     sink file { path %%DIR%%/t-only; } }
pipeline both   { streams a b; tenants t1; kinds json; sink file { path %%DIR%%/both; } }
pipeline none   { kinds xapi;        sink file { path %%DIR%%/none; } }
END
    $t->start;

    my %id;

    for my $stream (qw(a ab b)) {
        $id{"$stream/$_"} = send_one($t, stream => $stream, tenant => $_) for qw(t1 t2 u1);
    }

    my @all = $t->wait_events(9);
    is(ids(@all), join(' ', sort values %id), 'no filter: all');

    my %want = (
        'a-only' => [qw(a/t1 a/t2 a/u1)],
        't-only' => [qw(a/t1 ab/t1 b/t1 a/u1 ab/u1 b/u1)],
        both     => [qw(a/t1 b/t1)],
        none     => [],
    );

    for my $name (sort keys %want) {
        $t->wait_for("$name has read all", 20, sub { ($t->status($name) // {})->{read} == 9 });
        my @events = $t->events($t->dir . "/$name");
        is(ids(@events), join(' ', sort map { $id{$_} } @{ $want{$name} }), "pipeline $name");

        my $status = $t->status($name);
        is($status->{delivered}, scalar @events, "$name: delivered");
        is($status->{filtered}, 9 - @events, "$name: filtered");
        is($status->{lag}{records}, 0, "$name: no lag");
    }

    for my $event (@all) {
        like($event->{file}, qr{/stream=$event->{stream}/tenant=$event->{tenant}/date=[\d-]{10}/hour=\d\d/[^/]+$},
            "partition of $event->{stream}/$event->{tenant}");
    }

    my @files = Nucleus::Store::files($t->store);
    cmp_ok(scalar @files, '<=', 18, 'one file a partition (two if the hour has just changed)');

    # commands beside the one that works
    my ($status, $out) = $t->worker('--status');
    is($status, 0, '--status');
    like($out, qr/^pipeline store: registered\n  read 9 = delivered 9 \+ filtered 0 \+ corrupt 0\n/m, 'says it in words');

    my ($event) = @all;
    ($status, $out) = $t->worker('--find', $event->{rid});
    is($status, 0, '--find');
    my ($where, $line) = split /\n/, $out;
    like($where, qr{^\Q@{[ $t->queue ]}\E/[0-9a-f-]{36}/[^/]+\.seg offset \d+$}, 'says where the record lies');
    is($line, $event->{line}, 'and what it is: the line of the store');

    ($status, $out) = $t->worker('--find', '00000000-0000-7000-8000-000000000000');
    ok($status == 1 && $out =~ /has no record/, '--find: not there') or diag($out);
    ($status, $out) = $t->worker('--find', 'x');
    ok($status == 1 && $out =~ /not the id of a record/, '--find: no id') or diag($out);

    # a second worker
    ($status, $out) = $t->worker();
    is($status, 1, 'a second worker on the same state is refused');
    my $pid = $t->pid('worker');
    like($out, qr/another worker, process $pid, runs on the state/, 'and says whose it is');

    ($status, $out) = $t->worker('--forget', 'none');
    ok($status == 1 && $out =~ /is in the configuration/, '--forget: configured') or diag($out);
    ($status, $out) = $t->worker('--forget', 'other');
    ok($status == 1 && $out =~ /a worker, process $pid, runs/, '--forget: while a worker runs') or diag($out);

    # all its logs are JSON
    my @lines = split /\n/, $t->read_file('worker.out');
    my @not = grep { my $log = eval { JSON::PP->new->utf8->decode($_) }; !$log || !$log->{msg} || !$log->{time} } @lines;
    is("@not", '', 'each line of its log is a JSON object');
    unlike($t->read_file('worker.out'), qr/"x":"x/, 'no contents of events in its log');

    $t->finish;
}

# ---- stop and go on

{
    my $t = Nucleus::Test->new(locations => $locations);
    my @ids;

    # the worker may come first
    $t->start_worker or die "nucleus-worker does not start\n";
    $t->start_nginx or die "nginx does not start\n";
    push @ids, send_one($t) for 1 .. 5;
    my @events = $t->wait_events(5);
    my %file = map { $_->{file} => 1 } @events;
    is(scalar keys %file, 1, 'one file');

    # SIGTERM drains: a batch is due after a second, a worker that ends does not wait for that
    push @ids, send_one($t) for 1 .. 50;
    is($t->stop('worker'), 0, 'SIGTERM: ends with 0');
    is(ids($t->events), join(' ', sort @ids), 'and has delivered what was there');

    push @ids, send_one($t) for 1 .. 5;
    $t->start_worker or die "nucleus-worker does not start again\n";
    @events = $t->wait_events(scalar @ids);
    is(ids(@events), join(' ', sort @ids), 'a restart goes on');
    $file{ $_->{file} } = 1 for @events;
    cmp_ok(scalar keys %file, '<=', 2, 'in the same file (or in one of the next hour)');

    # each process dies, with events on their way; nobody loses anything or stores it twice
    $t->expect_log(qr/process ended, will be started again/);

    for my $round (1 .. 3) {
        for my $who (qw(store keeper)) {
            push @ids, send_one($t) for 1 .. 10;
            my ($pid) = $t->wait_for("the $who runs", 40, sub { ($t->children('worker', qr/^nucleus-$who$/))[0] });
            kill KILL => $pid;
            push @ids, send_one($t) for 1 .. 10;
            $t->wait_for("a new $who", 40, sub { my ($new) = $t->children('worker', qr/^nucleus-$who$/); $new && $new != $pid });
        }

        push @ids, send_one($t) for 1 .. 10;
        my @children = $t->children('worker');
        kill KILL => $t->pid('worker');
        $t->wait_for('the supervisor is dead', 10, sub { $t->ended('worker') });
        push @ids, send_one($t) for 1 .. 10;
        $t->start_worker or die "nucleus-worker does not start after a kill\n";
        $t->wait_for('the orphans end', 40, sub { !grep { kill 0 => $_ } @children });

        @events = $t->wait_events(scalar(@ids), undef, 60);
        is(ids(@events), join(' ', sort @ids), "round $round: all is stored once");
    }

    # all at once
    push @ids, send_one($t) for 1 .. 10;
    $t->kill_all('worker');
    push @ids, send_one($t) for 1 .. 10;
    $t->start_worker or die "nucleus-worker does not start after a kill\n";
    @events = $t->wait_events(scalar @ids);
    is(ids(@events), join(' ', sort @ids), 'the whole worker killed: all is stored once');
    my $status = $t->status;
    is($status->{read}, scalar @ids, 'the books: read');
    is($status->{delivered}, scalar @ids, 'the books: delivered');

    # somebody else writes into the store: what is not committed is cut off
    my ($last) = sort { -M $a <=> -M $b } Nucleus::Store::files($t->store);
    is($t->stop('worker'), 0, 'ends');
    open my $fh, '>>', $last or die "open of $last failed: $!\n";
    print {$fh} '{"rid":"a line that a crash left hal';
    close $fh;
    push @ids, send_one($t);
    $t->start_worker or die "nucleus-worker does not start\n";
    @events = $t->wait_events(scalar @ids);
    is(ids(@events), join(' ', sort @ids), 'half a line is cut off');

    $t->finish;
}

# ---- new files: by size, by hour

{
    my $t = Nucleus::Test->new(locations => $locations, sink => 'file_size 10k;');
    my $fault = Nucleus::Fault->new($t);
    my @ids;

    $t->start_nginx(env => $fault->env) or die "nginx does not start\n";
    $t->start_worker or die "nucleus-worker does not start\n";

    push @ids, send_one($t, size => 1000) for 1 .. 30;
    my @events = $t->wait_events(30);
    my %size;
    $size{ $_->{file} } = -s $_->{file} for @events;
    cmp_ok(scalar keys %size, '>=', 3, 'file_size: a new file');
    cmp_ok((sort { $b <=> $a } values %size)[0], '<', 12_000, 'soon after it is reached');

    my %before = map { $_->{file} => 1 } @events;
    $fault->set('clock-hour');
    push @ids, send_one($t);
    @events = $t->wait_events(31);
    my ($late) = grep { $_->{id} eq $ids[-1] } @events;
    ok(!$before{ $late->{file} }, 'the next hour: a new file');
    my ($hour) = $late->{received} =~ /T(\d\d):/;
    like($late->{file}, qr{/hour=$hour/}, 'in its own partition');
    my ($first) = grep { $_->{id} eq $ids[0] } @events;
    isnt($first->{file} =~ s{/[^/]+$}{}r, $late->{file} =~ s{/[^/]+$}{}r, 'which is another one');
    $fault->clear;

    $t->finish;
}

# ---- what is removed from the log, and when

{
    my $t = Nucleus::Test->new(
        locations     => $locations,
        queue_options => 'min_free=0 segment=64k',
        more          => 'pipeline slow { sink file { path %%DIR%%/slow; } }',
    );
    my @ids;

    $t->start;

    my $many = sub { push @ids, send_one($t, size => 4000) for 1 .. 100 };

    $many->();
    $t->wait_for('passed segments are removed', 30, sub { scalar(segments($t)) <= 3 });
    is(scalar($t->wait_events(100)), 100, 'all was delivered');
    is(scalar($t->wait_events(100, $t->dir . '/slow')), 100, 'by both');

    # a registered pipeline that does not run holds the log back
    is($t->stop('worker'), 0, 'ends');
    $t->write_confs(more => '');
    $t->start_worker or die "nucleus-worker does not start\n";
    like($t->read_file('worker.out'), qr/a registered pipeline is not in the configuration.*"pipeline":"slow"/, 'it says so');

    $many->();
    my @events = $t->wait_events(200);
    is(scalar @events, 200, 'the other goes on');
    my $keep = scalar segments($t);
    cmp_ok($keep, '>=', 6, 'the log is kept for the one that has not read it');
    my ($rid) = map { $_->{rid} } grep { $_->{id} eq $ids[105] } @events;

    # the keeper has gone round since then: it looks at every segment, and seals those that are finished
    $t->wait_for('finished segments have their index', 20, sub {
        my @index = glob $t->queue . '/*/*.idx';
        return @index >= scalar(segments($t)) - 2;
    });
    is(scalar(segments($t)), $keep, 'and stays');
    my ($code, $out) = $t->worker('--find', $rid);
    is($code, 0, '--find by the index of a sealed segment') or diag($out);

    my $status = $t->status('slow');
    ok($status->{registered} && !$status->{configured}, '--status shows it');
    is($status->{lag}{records}, 100, 'and how far it is behind');

    # it comes back, and reads what was kept for it
    is($t->stop('worker'), 0, 'ends');
    $t->write_confs(more => 'pipeline slow { sink file { path %%DIR%%/slow; } }');
    $t->start_worker or die "nucleus-worker does not start\n";
    is(ids($t->wait_events(200, $t->dir . '/slow')), join(' ', sort @ids), 'it reads what was kept for it');
    $t->wait_for('then it is removed', 30, sub { scalar(segments($t)) <= 3 });

    # it is forgotten
    is($t->stop('worker'), 0, 'ends');
    $t->write_confs(more => '');
    $t->start_worker or die "nucleus-worker does not start\n";
    $many->();
    $t->wait_events(300);
    cmp_ok(scalar(segments($t)), '>=', 6, 'kept again');
    is($t->stop('worker'), 0, 'ends');
    ($code, $out) = $t->worker('--forget', 'slow');
    is($code, 0, '--forget') or diag($out);
    like($out, qr/"slow" is forgotten/, 'and says what that means');
    ($code, $out) = $t->worker('--forget', 'slow');
    is($code, 1, '--forget: only once');
    $t->start_worker or die "nucleus-worker does not start\n";
    $t->wait_for('the log is not kept for it any more', 30, sub { scalar(segments($t)) <= 3 });
    is(scalar($t->events($t->dir . '/slow')), 200, 'what it has stored stays');

    # a new pipeline begins with what is there, or with what comes
    is($t->stop('worker'), 0, 'ends');
    my $here = send_one($t);
    $t->write_confs(more => 'pipeline late { start latest; sink file { path %%DIR%%/late; } }');
    $t->start_worker or die "nucleus-worker does not start\n";
    my $next = send_one($t);
    my @late = $t->wait_events(1, $t->dir . '/late');
    is(ids(@late), $next, 'start latest: only what comes after it was registered');
    $t->wait_events(302);

    $t->finish;
}

done_testing;
