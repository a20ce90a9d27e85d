package Nucleus::Metrics;

# A page of metrics, read as Prometheus reads it.
#
#     my $page = Nucleus::Metrics->new($response->body);
#     $page->value('nucleus_events_total', tenant => 'north', result => 'accepted')
#     $page->errors                  # what is wrong with it, by the text format 0.0.4 or OpenMetrics 1.0

use strict;
use warnings;

my $NAME  = qr/[a-zA-Z_:][a-zA-Z0-9_:]*/;
my $LABEL = qr/[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"/;
my $VALUE = qr/[-+]?(?:\d+(?:\.\d+)?(?:e[-+]?\d+)?|Inf|NaN)/i;

sub new {
    my ($class, $text) = @_;

    my $self = bless { samples => {}, families => {}, errors => [], open => scalar(($text // '') =~ /^# EOF$/m) }, $class;

    push @{ $self->{errors} }, 'the last line has no end' if ($text // '') !~ /\n\z/;
    my @lines = split /\n/, $text // '';
    push @{ $self->{errors} }, 'something behind EOF' if $self->{open} && $lines[-1] ne '# EOF';

    my $family;

    for my $line (@lines) {
        if ($line =~ /^# (HELP|TYPE|UNIT) ($NAME) (.*)$/) {
            push @{ $self->{errors} }, "again: $line" if $self->{families}{$2}{$1};
            $self->{families}{$2}{$1} = $3;
            $family = $2;
        } elsif ($line =~ /^($NAME)(?:\{($LABEL(?:,$LABEL)*)\})? ($VALUE)$/) {
            push @{ $self->{errors} }, "outside of its family: $line" if !defined $family || index($1, $family) != 0;
            push @{ $self->{errors} }, "twice: $line" if exists $self->{samples}{$1}{ $2 // '' };
            $self->{samples}{$1}{ $2 // '' } = $3;
        } elsif ($line ne '# EOF') {
            push @{ $self->{errors} }, "neither: $line";
        }
    }

    return $self;
}

# The sum of the samples that have these labels; undef: there is none.
sub value {
    my ($self, $name, %labels) = @_;

    my $sum;

    for my $text (keys %{ $self->{samples}{$name} // {} }) {
        my %has = $text =~ /(\w+)="([^"]*)"/g;
        next if grep { !defined $has{$_} || $has{$_} ne $labels{$_} } keys %labels;
        $sum = ($sum // 0) + $self->{samples}{$name}{$text};
    }

    return $sum;
}

sub names { return sort keys %{ $_[0]{samples} } }

sub families { return $_[0]{families} }

sub errors {
    my ($self) = @_;

    my @errors = @{ $self->{errors} };

    for my $name (sort keys %{ $self->{families} }) {
        my $family = $self->{families}{$name};
        my $type = $family->{TYPE} // '';

        push @errors, "$name: no HELP" if !length($family->{HELP} // '');
        push @errors, "$name: type \"$type\"" if $type !~ /^(?:counter|gauge|histogram)$/;
        push @errors, "$name: its name has not its unit" if $family->{UNIT} && $name !~ /_\Q$family->{UNIT}\E$/;
        push @errors, "$name: a counter" if $type eq 'counter' && ($name =~ /_total$/ xor !$self->{open});
        push @errors, $self->_histogram_errors($name) if $type eq 'histogram';
    }

    return @errors;
}

# Buckets are cumulative, and the last is the count.
sub _histogram_errors {
    my ($self, $name) = @_;

    my (%of, @errors);

    while (my ($text, $value) = each %{ $self->{samples}{"${name}_bucket"} // {} }) {
        my ($labels, $le) = $text =~ /^(.*?),?le="([^"]*)"$/ or push @errors, "$name: no le";
        $of{$labels}{ $le eq '+Inf' ? 9**9**9 : $le } = $value;
    }

    for my $labels (keys %of) {
        my $last = 0;

        for my $le (sort { $a <=> $b } keys %{ $of{$labels} }) {
            push @errors, "$name: not cumulative at $le" if $of{$labels}{$le} < $last;
            $last = $of{$labels}{$le};
        }

        push @errors, "$name: no last bucket" if !exists $of{$labels}{ 9**9**9 };
        push @errors, "$name: its count is another" if $last != ($self->{samples}{"${name}_count"}{$labels} // -1);
        push @errors, "$name: no sum" if !defined $self->{samples}{"${name}_sum"}{$labels};
    }

    return @errors;
}

1;
