#!/usr/bin/perl

# The registry under a running nginx: snapshots that are no good, new ones, old ones; processes without
# one; reload and upgrade while it changes; when a key was used; a tenant's bytes in flight; keys beside
# auth_request, mirror and error_page.

use strict;
use warnings;

use FindBin;
use JSON::PP ();
use POSIX ();
use Test::More;
use Time::HiRes qw(time);

use lib "$FindBin::Bin/lib";
use Nucleus::Metrics;
use Nucleus::Test;

my @json = ('Content-Type' => 'application/json');
my $number = 0;

sub event { return sprintf '{"id":"r-%d"}', ++$number }

sub send_to {
    my ($t, $uri, $key, @headers) = @_;

    return $t->post($uri, event(), headers => [ $key ? @{ $key->{bearer} } : (), @headers ]);
}

# How many times the error log says so.
sub said {
    my ($t, $pattern) = @_;

    return scalar(() = $t->read_file('error.log') =~ /\[alert\][^\n]*$pattern/g);
}

# By rename, as nucleusctl does; a file that is written over would be cut off under those who read it.
sub replace {
    my ($t, $bytes) = @_;

    my $path = $t->registry->snapshot;
    $t->write_file("$path.new", $bytes);
    chmod 0644, "$path.new";
    rename "$path.new", $path or die "rename failed: $!\n";
}

# Wait until the metrics of all processes say so of the registry.
sub wait_known {
    my ($t, $known, $name) = @_;

    return $t->wait_for("$name: metrics", 10, sub {
        my $page = Nucleus::Metrics->new($t->get('/metrics')->body);
        return ($page->value('nucleus_registry_ready') // -1) == $known;
    });
}

# ---- snapshots that are no good

{
    my $t = Nucleus::Test->new(keys => 1, workers => 2, locations => 'location = /metrics { nucleus_status; }');
    my $registry = $t->registry;
    my $first = $registry->key(tenant => 'north');
    my $older = $t->read_file($registry->snapshot);
    my $key = $registry->key(tenant => 'north');
    my $good = $t->read_file($registry->snapshot);
    my $stranger = Nucleus::Test->new(keys => 1);
    $stranger->registry->key for 1 .. 4;

    (my $damaged = $good) =~ s/(.{200})./$1 . chr(ord(substr $good, 200, 1) ^ 1)/es;
    isnt($damaged, $good, 'a damaged snapshot');

    $t->start or BAIL_OUT('does not start');

    for my $case (
        [ 'damaged', $damaged, qr/not usable: its checksum is wrong/ ],
        [ 'cut off', substr($good, 0, -100), qr/not usable/ ],
        [ 'short', substr($good, 0, 20), qr/not usable/ ],
        [ 'empty', '', qr/is empty, or no file/ ],
        [ 'nonsense', 'x' x 4096, qr/not usable/ ],
        [ 'of another registry', $stranger->read_file($stranger->registry->snapshot), qr/is of another registry/ ],
        [ 'older', $older, qr/is older than the one in use/ ],
        [ 'removed', undef, qr/(?:stat|open) of "[^"]*" failed/ ],
    ) {
        my ($name, $bytes, $pattern) = @$case;
        my $before = said($t, $pattern);

        $t->expect_log(qr/\[alert\].*nucleus registry: .*$pattern/);
        defined $bytes ? replace($t, $bytes) : unlink $registry->snapshot;

        ok($t->wait_for("$name: alerts", 5, sub { said($t, $pattern) >= $before + 2 }), "$name: an alert of each process");
        $t->is_receipt(send_to($t, '/events', $_), 1, "$name: keys work") for $first, $key;
        is($t->get('/health')->status, 200, "$name: ready");

        # several looks later
        my $later = time + 0.5;
        Nucleus::Test::poll_for(2, sub { time > $later });
        is(said($t, $pattern), $before + 2, "$name: it is said once");
        wait_known($t, 0, $name);
    }

    my $begin = time;
    my $new = $registry->key(tenant => 'north');
    $t->wait_for('a good one is taken up', 5, sub {
        return !grep { send_to($t, '/events', $new)->status != 202 } 1 .. 10;
    });
    cmp_ok(time - $begin, '<', 1, 'within a second, nucleusctl included');
    $t->is_receipt(send_to($t, '/events', $first), 1, 'the other keys work');
    wait_known($t, 1, 'a good one');

    # ---- a process that starts without one

    is($t->reload, 1, 'a reload');
    my $bytes = $t->read_file($registry->snapshot);
    my ($one, $other) = $t->nginx_workers;
    unlink $registry->snapshot;
    $t->expect_log(qr/\[alert\].*worker process \d+ exited on signal 9/);
    kill KILL => $one, $other;
    $t->wait_for('new processes', 10, sub { !grep({ $_ == $one || $_ == $other } $t->nginx_workers) && $t->nginx_workers == 2 });

    # the first answer may be one of a process that was killed
    $t->wait_for('they have no registry', 5, sub { $t->get('/health')->status == 503 });
    $t->is_problem($t->get('/health'), 503, 'registry-failed');
    $t->is_problem(send_to($t, '/events', $key), 503, 'registry-failed');
    is(send_to($t, '/events', $key)->header('Retry-After'), 1, 'with a time to come back');
    is($t->get('/live')->status, 200, 'they live');
    wait_known($t, 0, 'none');

    replace($t, $bytes);
    $t->wait_for('they recover', 5, sub { !grep { send_to($t, '/events', $new)->status != 202 } 1 .. 10 });
    is($t->get('/health')->status, 200, 'ready again');
    wait_known($t, 1, 'one again');

    $t->finish;
    $stranger->finish;
}

# ---- max_age

{
    my $t = Nucleus::Test->new(keys => 1, queue_options => 'min_free=0 segment=4m');
    my $registry = $t->registry;
    my $key = $registry->key;
    my $snapshot = $registry->snapshot;
    my $age = qr/was written more than 4 seconds ago/;
    my $conf = $t->read_file('nginx.conf');

    $conf =~ s/nucleus_registry \Q$snapshot\E;/nucleus_registry $snapshot max_age=4s;/ or die "no registry\n";
    $t->write_confs(nginx => $conf =~ s/%%/%%%%/gr);
    $t->expect_log(qr/\[alert\].*$age/);
    $registry->must('snapshot', '--rewrite');
    $t->start or BAIL_OUT('does not start');

    for my $round (1, 2) {
        $t->wait_for('too old', 10, sub { said($t, $age) == $round });
        $t->is_problem($t->get('/health'), 503, 'registry-failed');
        $t->is_receipt(send_to($t, '/events', $key), 1, 'keys still work');
        is($t->get('/health')->status, 503, 'still not ready') for 1 .. 3;
        is(said($t, $age), $round, 'it is said once');

        $registry->must('snapshot', '--rewrite');
        $t->wait_for('a new one makes it ready', 3, sub { $t->get('/health')->status == 200 });
        $t->is_receipt(send_to($t, '/events', $key), 1, 'keys work');
    }

    $t->finish;
}

# ---- reload and upgrade under load, while the registry changes; when a key was used

{
    my $t = Nucleus::Test->new(keys => 1, workers => 2, upgradable => 1, main => 'worker_shutdown_timeout 20s;');
    my $registry = $t->registry;
    my $key = $registry->key(tenant => 'north');
    my @more = map { $registry->key(tenant => 'north') } 1 .. 3;
    $t->start or BAIL_OUT('does not start');

    my $used = sub {
        my ($k) = @_;
        my ($found) = grep { $_->{id} eq $k->{id} } @{ $registry->json('key', 'list', '--queue', $t->queue) };
        return $found->{last_used};
    };

    is($used->($key), undef, 'not used yet');
    $t->is_receipt(send_to($t, '/events', $key), 1, 'used');
    $t->wait_for('the time of use', 15, sub { $used->($key) });
    like($used->($key), qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'when it was used');
    is($used->($more[0]), undef, 'another was not');

    my @pids;

    for my $sender (1 .. 4) {
        my $pid = fork // die "fork failed: $!\n";

        if ($pid == 0) {
            my $stop = 0;
            local $SIG{TERM} = sub { $stop = 1 };
            my %count;

            for (my $n = 1; !$stop; $n++) {
                $count{ $t->post('/events', qq({"id":"s$sender-$n"}), headers => $key->{bearer})->status }++;
            }

            $t->write_file("sender.$sender", JSON::PP::encode_json(\%count));
            POSIX::_exit(0);
        }

        push @pids, $pid;
    }

    for my $step (qw(reload upgrade reload)) {
        my $gone = shift @more;
        my $new = $registry->key(tenant => 'north');

        $t->is_receipt(send_to($t, '/events', $gone), 1, "before the $step");
        is($t->$step, 1, $step);
        $t->wait_for("the time of use is there after the $step", 15, sub { $used->($gone) });
        is((send_to($t, '/events', $new))->status, 202, 'a key made before it');
        $registry->must('key', 'revoke', $gone->{id});
        is(send_to($t, '/events', $gone)->status, 403, 'revoked after it');
        push @more, $registry->key(tenant => 'north');
    }

    kill TERM => @pids;
    waitpid $_, 0 for @pids;

    for my $sender (1 .. 4) {
        my $count = JSON::PP::decode_json($t->read_file("sender.$sender"));
        is_deeply([ keys %$count ], [202], "sender $sender got 202 only") or diag(explain($count));
    }

    $t->finish;
}

# ---- bytes in flight of a tenant

{
    my $t = Nucleus::Test->new(keys => 1, server => 'client_body_timeout 60s;');
    my $registry = $t->registry;
    my $north = $registry->key(tenant => 'north');
    my $south = $registry->key(tenant => 'south');
    $registry->must(qw(tenant limits north --inflight 64k));
    $t->start or BAIL_OUT('does not start');

    my $large = sub { return sprintf '{"id":"large-%d","pad":"%s"}', ++$number, 'x' x $_[0] };
    my $post = sub { return $t->post('/events', $large->($_[1]), headers => $_[0]{bearer}) };

    $t->is_problem($post->($north, 70_000), 413, 'body-too-large');
    $t->is_receipt($post->($south, 70_000), 1, 'of another tenant it is not');
    $t->is_receipt($post->($north, 40_000), 1, 'one that fits');

    # a part of it has come
    my $half = $t->client;
    my $text = Nucleus::Client::text('POST', '/events', [ @json, @{ $north->{bearer} } ], $large->(45_000));
    $half->send(substr $text, 0, -10);

    $t->wait_for('a second one does not fit', 10, sub { $post->($north, 40_000)->status == 503 });
    my $r = $post->($north, 40_000);
    $t->is_problem($r, 503, 'busy');
    cmp_ok($r->header('Retry-After') // 0, '>', 0, 'with a time to come back');
    $t->is_receipt($post->($north, 5_000), 1, 'a small one of the tenant fits');
    $t->is_receipt($post->($south, 70_000), 1, 'another tenant is not disturbed');

    $half->send(substr $text, -10);
    $t->is_receipt($half->response, 1, 'the first one is taken');
    $half->close;
    $t->wait_for('then there is room', 10, sub { $post->($north, 45_000)->status == 202 });

    $t->finish;
}

# ---- beside what nginx has

{
    my $t = Nucleus::Test->new(keys => 1, server => 'nucleus_auth_delay 0;', locations => <<'END');
        location = /yes   { internal; return 204; }
        location = /no    { internal; return 403; }
        location = /asked-yes { nucleus json; nucleus_stream asked; auth_request /yes; }
        location = /asked-no  { nucleus json; auth_request /no; }
        location = /any-no    { nucleus json; satisfy any; auth_request /no; }
        location = /any-yes   { nucleus json; satisfy any; auth_request /yes; }

        location = /front { mirror /copy; proxy_pass http://127.0.0.1:%%PORT%%/application; }
        location = /application { return 200 "application\n"; }
        location = /copy  { internal; nucleus json; nucleus_stream copy; }

        location = /keyed { nucleus json; error_page 401 403 503 = @open; }
        location @open    { nucleus json; nucleus_auth off; nucleus_stream open; nucleus_tenant anybody; }
        location = /other { nucleus json; nucleus_auth_argument api_key; error_page 403 = @again; }
        location @again   { nucleus json; nucleus_stream again; }
END
    my $registry = $t->registry;
    my $key = $registry->key(tenant => 'north');
    my $gone = $registry->key(tenant => 'north');
    my $only = $registry->key(tenant => 'north', stream => 'again');
    $registry->must('key', 'revoke', $gone->{id}, '--timeout', '1s');
    $t->start or BAIL_OUT('does not start');

    SKIP: {
        skip 'nginx has no auth_request', 6 if !Nucleus::Test::nginx_has(qr/auth_request/);

        $t->is_receipt(send_to($t, '/asked-yes', $key), 1, 'auth_request says yes, and a key');
        $t->is_problem(send_to($t, '/asked-yes'), 401, 'missing-credentials');
        is(send_to($t, '/asked-no', $key)->status, 403, 'auth_request says no');
        $t->is_receipt(send_to($t, '/any-no', $key), 1, 'satisfy any: the key suffices');
        $t->is_problem(send_to($t, '/any-no'), 401, 'missing-credentials');
        $t->is_problem(send_to($t, '/any-yes'), 401, 'missing-credentials');
    }

    my $of_stream = sub { my ($stream) = @_; return grep { $_->{stream} eq $stream } $t->events };

    is(send_to($t, '/front')->status, 200, 'mirror, without a key');
    is(send_to($t, '/front', $gone)->status, 200, 'mirror, a revoked one');
    is(send_to($t, '/front', $key)->body, "application\n", 'mirror, with a key');
    $t->wait_for('the copy', 10, sub { $of_stream->('copy') });
    $t->wait_events(2);
    is_deeply([ map { $_->{tenant} } $of_stream->('copy') ], ['north'], 'one copy is stored, with the tenant of the key');

    # where error_page leads from a location with keys to one without
    my $mistyped = { bearer => [ Authorization => 'Bearer nuc_000000000000_' . 'x' x 49 ] };
    $t->is_receipt(send_to($t, '/keyed', $_->[1]), 1, "an open location after $_->[0]")
        for [ 'no key', undef ], [ 'a revoked key', $gone ], [ 'a wrong key', $mistyped ];
    $t->wait_for('they are stored', 10, sub { $of_stream->('open') == 3 });
    is_deeply([ map { $_->{key_id} } $of_stream->('open') ], [ (undef) x 3 ], 'without the id of a key');
    is_deeply([ map { $_->{tenant} } $of_stream->('open') ], [ ('anybody') x 3 ], 'with the tenant of the open location');

    $t->is_receipt($t->post("/other?api_key=$only->{key}", event()), 1, 'another location with keys, and a stream that it may send to');

    # the same, where there is no registry at all
    my $bytes = $t->read_file($registry->snapshot);
    my ($before) = $t->nginx_workers;
    $t->expect_log(qr/\[alert\].*(?:exited on signal 9|nucleus registry: (?:open|stat) of)/);
    unlink $registry->snapshot;
    kill KILL => $before;
    $t->wait_for('a new process', 10, sub { my ($now) = $t->nginx_workers; $now && $now != $before });
    $t->wait_for('it has no registry', 5, sub { $t->get('/health')->status == 503 });
    my ($now) = $t->nginx_workers;
    $t->is_receipt(send_to($t, '/keyed', $key), 1, 'an open location without a registry');
    is(($t->nginx_workers)[0], $now, 'the process lives');
    replace($t, $bytes);

    $t->finish;
}

done_testing;
