#!/usr/bin/perl

# worker_shutdown_timeout: when it strikes, requests that wait for the disk, or are still sending, lose
# their connections; nothing is acknowledged falsely, nothing that was acknowledged is lost, and the
# old process ends in bounded time, its books in order.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Nucleus::Fault;
use Nucleus::Test;

# timeout= is far above the shutdown's, against what docs/operations.md says: the timeout of a request
# must not be what ends it here
my $t = Nucleus::Test->new(
    queue_options => 'min_free=0 segment=4m timeout=20s',
    main          => 'worker_shutdown_timeout 1s;',
    locations     => <<'END',
        location = /app  { mirror /copy; client_body_buffer_size 1k; proxy_pass http://127.0.0.1:%%PORT%%/up; }
        location = /up   { return 200 "up\n"; }
        location = /copy { internal; nucleus auto; nucleus_stream copies; }
END
);
my $fault = Nucleus::Fault->new($t);

$t->start_nginx(env => $fault->env) or die "nginx does not start\n";
$t->start_worker or die "nucleus-worker does not start\n";

my @json = ('Content-Type' => 'application/json');
my $number = 0;
my (%may, %must, %never);

# A connection with a request of one new event on its way, whose fate the book is about.
sub begin {
    my ($book, %opt) = @_;

    my $id = 'end-' . ++$number;
    my $text = Nucleus::Client::text('POST', $opt{uri} // '/events', [@json], sprintf '{"id":"%s","x":"%s"}', $id, 'x' x ($opt{size} // 10));
    my $c = $t->client;

    $book->{$id} = 1;
    $c->send(substr $text, 0, length($text) - ($opt{hold} // 0));

    return $c;
}

sub old_ends {
    my ($name, @old) = @_;

    $t->wait_for($name, 30, sub { my %left = map { $_ => 1 } $t->children('nginx'); !grep { $left{$_} } @old })
        && pass($name);
}

# ---- requests that wait, small and large, alone and pipelined; a copy; one that is still sending

{
    is(begin(\%must)->response->status, 202, 'an event before');

    $fault->set('sync-stall');
    my $hits = $fault->hits;
    my @wait = (begin(\%may), begin(\%may, size => 1000), begin(\%may, size => 300_000));
    my $copy = begin(\%must, uri => '/app', size => 5000);
    is($copy->response->body, "up\n", 'who is mirrored has his answer');

    # both queues have a thread that waits
    $t->wait_for('the disk has been asked twice', 20, sub { $fault->hits >= $hits + 2 });
    my $pipelined = begin(\%may);
    $pipelined->send(Nucleus::Client::text('GET', '/live', [], undef));
    my $half = begin(\%never, size => 100, hold => 50);
    my $idle = $t->client;
    is($idle->request('GET', '/live', [], undef)->status, 200, 'a connection that is kept');

    # nginx has accepted and read them all once this is answered
    is($t->get('/live')->status, 200, 'all are under way');

    my @old = $t->nginx_workers;
    $t->reload(wait => 0);

    for my $c (@wait, $pipelined, $half) {
        is($c->response(timeout => 15), undef, 'no answer');
        ok($c->closed(0), 'but an end');
        $c->close;
    }

    ok($idle->closed(15), 'an idle connection ends');
    ok($copy->closed(15), 'so does that of the copy');

    # it may have 20 s for the disk; now it has its answer
    $fault->clear;
    old_ends('the old process ends', @old);
}

$t->is_receipt(begin(\%must)->response, 1, 'the new process takes events');

# ---- while the disk does not answer at all: the end is bounded by both times

$t->write_confs(queue_options => 'min_free=0 segment=4m timeout=2s');
$t->reload;
$t->expect_log(qr/nucleus queue for \w+ bodies was left/);

{
    $fault->set('sync-stall');
    my $hits = $fault->hits;
    my @wait = (begin(\%may), begin(\%may, size => 300_000));
    $t->wait_for('the disk has been asked twice', 20, sub { $fault->hits >= $hits + 2 });

    my @old = $t->nginx_workers;
    $t->reload(wait => 0);
    old_ends('the old process ends without an answer of the disk', @old);

    for my $c (@wait) {
        my $r = $c->response(timeout => 1);
        ok(!$r || $r->status == 503, 'nobody got a receipt');
        $c->close;
    }

    $fault->clear;
}

$t->wait_for('the new process takes events', 30, sub { my $r = begin(\%may)->response; $r && $r->status == 202 });
$t->is_receipt(begin(\%must)->response, 1, 'and acknowledges');

# ---- what of all that is stored

is($t->stop('nginx'), 0, 'nginx ends');

my %times;

$t->wait_for('all that was acknowledged is stored', 30, sub {
    my $status = $t->status or return 0;
    return 0 if $status->{error} || $status->{lag}{records};

    %times = ();
    $times{ $_->{id} }++ for $t->events;
    return !grep { !$times{$_} } keys %must;
});
is(join(' ', grep { $times{$_} != 1 } keys %must), '', 'each once');
is(join(' ', grep { ($times{$_} // 0) > 1 } keys %may), '', 'those in doubt at most once');
is(join(' ', grep { $times{$_} } keys %never), '', 'what had not come whole never');
is(join(' ', grep { !$must{$_} && !$may{$_} } keys %times), '', 'nothing else');

$t->finish;
done_testing;
