#!/usr/bin/perl

# conf-examples/mirror.conf: each request goes to the application as if Nucleus were not there, also
# when its disk stalls or is full, and the copies reach the store.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Nucleus::Fault;
use Nucleus::Test;

# The example, with an application that stores what reaches it, in another stream.
sub example {
    my $conf = Nucleus::Test->read_file("$Nucleus::Test::ROOT/conf-examples/mirror.conf");

    $conf =~ s/^load_module .*/load_module %%MODULE%%;/m or die "no load_module\n";
    $conf =~ s/127\.0\.0\.1:8081/127.0.0.1:%%PORT2%%/ or die "no application\n";
    $conf =~ s/127\.0\.0\.1:8080/127.0.0.1:%%PORT%%/ or die "no server\n";
    $conf =~ s{\brun/}{%%DIR%%/}g;
    $conf =~ s/(nucleus_queue\s+log \S+);/$1 min_free=0 segment=4m timeout=5s;/ or die "no queue\n";
    $conf =~ s/\}\s*\z//;

    return <<"END";
%%USER%%
error_log %%DIR%%/error.log info;
$conf
    server {
        listen               127.0.0.1:%%PORT2%%;
        client_max_body_size 2m;
        nucleus_auth         off;

        location = /events { nucleus auto; nucleus_stream application; }
        location /         { return 200 "application\\n"; }
    }
}
END
}

my $t = Nucleus::Test->new(nginx => example(), queue => undef);
my $fault = Nucleus::Fault->new($t);

$t->expect_log(qr/\[crit\].*nucleus queue for \w+ bodies accepts no events: the disk has not answered/);
$t->start_nginx(env => $fault->env) or die "nginx does not start\n";
$t->start_worker or die "nucleus-worker does not start\n";

my @json = ('Content-Type' => 'application/json');
my $number = 0;
my (%data, %plain, %trial);

# An event for the application that stores, or for the one that only answers.
sub event {
    my ($size, $book) = @_;

    my $id = 'm-' . ++$number;

    return $book->{$id} = sprintf '{"id":"%s","x":"%s"}', $id, 'x' x $size;
}

# Is each event of the books in the stream, once and as it was sent?
sub stored {
    my ($stream, %book) = @_;

    my (%times, @wrong);

    for my $event (grep { $_->{stream} eq $stream } $t->events) {
        $times{ $event->{id} }++;
        push @wrong, "$event->{id} was not sent" if !defined $book{ $event->{id} };
        push @wrong, "$event->{id} has changed" if $event->{data} ne ($book{ $event->{id} } // '');
    }

    push @wrong, map { "$_ is stored " . ($times{$_} // 0) . ' times' }
        grep { ($times{$_} // 0) != 1 } sort keys %book;

    return \@wrong;
}

sub is_stored {
    my ($stream, $name, %book) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $wrong = ['nothing'];
    Nucleus::Test::poll_for(30, sub { $wrong = stored($stream, %book); !@$wrong });
    is("@$wrong", '', $name);
}

# The statuses of the copies, as many as there are in the log now.
sub copies { return $t->read_file('copies.log') =~ / (\d+)$/mg }

sub copies_have {
    my ($status, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    ok($t->wait_for("a copy with $status", 20, sub { grep { $_ == $status } copies() }), $name);
}

# Until a copy is taken again.
sub recovered {
    $t->wait_for('copies are taken again', 30, sub {
        my @before = copies();
        my @after;

        $t->post('/plain', event(10, \%trial));
        $t->wait_for('its copy', 20, sub { @after = copies(); @after > @before }) or return 1;
        return 1 if $after[-1] == 202;

        delete $trial{"m-$number"};
        return 0;
    });
}

# One request after the other on a connection that is kept.
sub answered {
    my ($name, @sizes) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $c = $t->client;
    my @status = map {
        my $r = $c->request('POST', '/plain', [@json], event($_, \%plain));
        $r ? $r->status . ' ' . $r->body : "no answer\n"
    } @sizes;
    $c->close;

    is(join('', @status), "200 application\n" x @sizes, $name);
}

# ---- both get the same

my $c = $t->client;

for my $size (10, 5000, 60_000, 300_000, 900_000) {
    my $r = $c->request('POST', '/events', [@json], event($size, \%data));
    $t->is_receipt($r, 1, "the application's own answer, $size bytes");
}

$c->send(Nucleus::Client::text('POST', '/events', [ @json, 'Transfer-Encoding' => 'chunked' ])
        . Nucleus::Client::chunked(event(50_000, \%data), 1, 10, 9000));
$t->is_receipt($c->response, 1, 'in chunks');
$c->close;

is_stored($_, "stream $_: each event once, unchanged", %data) for qw(application trial);

# ---- what Nucleus refuses is nobody's trouble

is($t->get('/plain')->body, "application\n", 'GET');
copies_have(405, 'a copy of a GET is refused');
is($t->post('/plain', '{"bad')->body, "application\n", 'a bad event');
copies_have(400, 'a copy of it is refused');
is($t->post('/plain', 'a=b', type => 'application/x-www-form-urlencoded')->body, "application\n", 'a form');
copies_have(415, 'a copy of it is refused');

is($t->get('/nucleus-copy')->status, 404, 'nobody reaches the copies\' location');

# ---- a disk that stalls holds up neither this request nor the next on its connection

$fault->set('sync-stall');
answered('stalled, not noticed yet', 10, 300_000, 10, 5000);
my $close = $t->client;
$close->send(Nucleus::Client::text('POST', '/plain', [ @json, Connection => 'close' ], event(10, \%plain)));
is(($close->response // $t->get('/none'))->status, 200, 'stalled: with Connection: close');
ok($close->closed(5), 'stalled: and the connection ends');
$close->close;
my $noticed = qr/accepts no events: the disk has not answered/;
unlike($t->read_file('error.log'), $noticed, 'all that came before the time was up');
%trial = %plain;

$t->wait_for('the stall is noticed', 30, sub { $t->read_file('error.log') =~ $noticed });
answered('stalled and noticed', 10, 10);
copies_have(503, 'copies are refused while it lasts');
$fault->clear;
recovered();

# those that were on their way when it stalled are there
is_stored('trial', 'what was taken before the stall was noticed is stored', %data, %trial);

# ---- a full disk

$t->expect_log(qr/\[error\].*nucleus queue for \w+ bodies accepts no events/);
$fault->set('space-none');
$t->wait_for('the full disk is noticed', 30, sub {
    answered('full disk', 10);
    return $t->read_file('error.log') =~ /accepts no events: .*(?:free|room|space)/i;
});
answered('full disk, noticed', 10, 5000);
$fault->clear;

# ---- the copies of requests that were answered survive a reload and a stop

%plain = ();
recovered();
$fault->set('sync-slow');
answered('a slow disk', (10) x 20);
$t->reload;
answered('after a reload', (10) x 20);
is($t->stop('nginx'), 0, 'nginx ends');

is_stored('trial', 'all copies are stored', %data, %trial, %plain);
is_stored('application', 'and the application has what it had', %data);

$t->finish;
done_testing;
