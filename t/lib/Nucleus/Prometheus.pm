package Nucleus::Prometheus;

# A real Prometheus that scrapes the nginx and the worker of a test, by the example configuration and with the
# rules of monitoring/, but for their times: hours are made seconds by rules of the text alone.
#
#     my $p = Nucleus::Prometheus->new($t);
#     $p->start;
#     $p->query('up')                   # samples: { labels…, value }
#     $p->firing                        # { alert name => [ { labels, annotations } ] }
#
# $t needs the locations /metrics, and /worker/metrics.  What stands in the file node.prom of its directory is what
# the node exporter would tell.

use strict;
use warnings;

use IO::Socket::INET;
use JSON::PP ();

use Nucleus::Test;

our $DIR = "$Nucleus::Test::ROOT/monitoring/prometheus";

our $INTERVAL = '500ms';

# range selectors, offsets, and whatever else is a time in the rules
my %SHORT = ('5m' => '4s', '15m' => '6s', '1h' => '8s', '1w' => '16s');

sub shorten {
    my ($rules) = @_;

    $rules =~ s/\[(\w+)\]/'[' . ($SHORT{$1} \/\/ die "no short form of [$1]\n") . ']'/ge;
    $rules =~ s/\boffset (\w+)/'offset ' . ($SHORT{$1} \/\/ die "no short form of offset $1\n")/ge;
    $rules =~ s/^(\s+for:) \w+$/$1 1s/mg;
    $rules =~ s/^(\s+interval:) \w+$/$1 $INTERVAL/mg;

    # minutes and hours
    $rules =~ s/(\d+) \* 60\b/$1 * 0.4/g;
    $rules =~ s/(\d+) \* 3600\b/$1 * 6/g;

    return $rules;
}

sub new {
    my ($class, $t) = @_;

    return bless { t => $t, port => $t->free_port, node => $t->free_port }, $class;
}

sub conf {
    my ($self) = @_;

    my $t = $self->{t};
    my $conf = $t->read_file("$DIR/prometheus.yml");
    my $port = $t->port;

    $conf =~ s/_interval: 15s/_interval: $INTERVAL/g;
    $conf =~ s/127\.0\.0\.1:8080/127.0.0.1:$port/g;
    $conf =~ s/127\.0\.0\.1:9100/127.0.0.1:$self->{node}/g;
    $conf =~ s/^alerting:\n(?:[ ].*\n)+//m or die "no alerting in prometheus.yml\n";

    return $conf;
}

sub start {
    my ($self) = @_;

    my $t = $self->{t};
    my $dir = $t->dir;

    $t->write_file('prometheus.yml', $self->conf);
    $t->write_file('nucleus.rules.yml', shorten($t->read_file("$DIR/nucleus.rules.yml")));
    $t->write_file('node.pl', node());
    $t->spawn('node', [ $^X, "$dir/node.pl", $self->{node}, "$dir/node.prom" ]);
    $t->spawn('prometheus', [ 'prometheus', "--config.file=$dir/prometheus.yml", "--storage.tsdb.path=$dir/tsdb",
        "--web.listen-address=127.0.0.1:$self->{port}", '--log.level=warn' ]);

    return $t->wait_for('Prometheus is ready', 60, sub {
        $t->ended('prometheus') ? -1 : $t->get('/-/ready', port => $self->{port})->status == 200;
    });
}

# the node exporter, as far as it is needed
sub node {
    return <<'END';
use strict;
use warnings;
use IO::Socket::INET;
my ($port, $file) = @ARGV;
my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 10, ReuseAddr => 1) or die "listen: $!\n";
while (1) {
    my $c = $s->accept or next;
    while (defined(my $line = <$c>)) { last if $line eq "\r\n" }
    my $text = '';
    if (open my $fh, '<', $file) { local $/; $text = <$fh> // '' }
    print $c "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: ", length $text, "\r\nConnection: close\r\n\r\n$text";
    close $c;
}
END
}

sub api {
    my ($self, $path) = @_;

    my $r = $self->{t}->get("/api/v1/$path", port => $self->{port});
    my $json = eval { $r->json } or return;

    return $json->{status} eq 'success' ? $json->{data} : { error => $json->{error} };
}

# The samples of an instant vector, or a string: what is wrong with the expression.
sub query {
    my ($self, $expr) = @_;

    $expr =~ s/([^\w.-])/sprintf '%%%02X', ord $1/ge;
    my $data = $self->api("query?query=$expr") or return 'no answer';
    return $data->{error} if $data->{error};

    return [ map { { %{ $_->{metric} }, value => $_->{value}[1] } } @{ $data->{result} } ];
}

sub alerts {
    my ($self) = @_;

    my $data = $self->api('alerts') or return [];

    return $data->{alerts} // [];
}

sub firing {
    my ($self) = @_;

    my %firing;
    push @{ $firing{ $_->{labels}{alertname} } }, $_ for grep { $_->{state} eq 'firing' } @{ $self->alerts };

    return \%firing;
}

1;
